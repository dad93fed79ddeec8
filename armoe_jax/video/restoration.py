"""The job itself: decode, restore and encode a video at the same time."""

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from av.error import FFmpegError
from numpy.typing import NDArray

from armoe_jax.runtime.progress import Progress
from armoe_jax.video.container_sink import ContainerSink
from armoe_jax.video.container_source import ContainerSource
from armoe_jax.video.info import Picture
from armoe_jax.video.options import RAW_SUFFIXES, VideoOptions
from armoe_jax.video.pipeline import run_pipeline
from armoe_jax.video.raw import RawSink, RawSource

Restore = Callable[..., NDArray[np.uint16]]
"""From a picture of 16 bits, and for networks with an interval head its `coding`, to another."""


@dataclasses.dataclass(frozen=True)
class VideoSummary:
    """What was done to a video.

    Attributes:
        num_frames: Frames written.
        input_format: Codec, size and sample format of the input, as text.
        output_format: Size and sample format of the output, as text.
        colors: Matrix, range and chroma siting that were used, as text.
        num_copied_streams: Sound and subtitle streams carried over.
        seconds: Wall-clock time.
        notes: What the user should know: damage, things left out.
    """

    num_frames: int
    input_format: str
    output_format: str
    colors: str
    num_copied_streams: int
    seconds: float
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        rate = self.num_frames / self.seconds if self.seconds else 0.0
        text = (
            f"{self.num_frames} frames, {self.input_format} -> {self.output_format}, "
            f"{self.colors}, {self.num_copied_streams} streams copied, {rate:.2f} frames/s"
        )
        return "; ".join([text, *self.notes])


def restore_video(
    src: str | os.PathLike,
    dst: str | os.PathLike,
    restorer: Restore,
    *,
    options: VideoOptions | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> VideoSummary:
    """Restores a video frame by frame.

    Frame rate, time stamps, pixel aspect, rotation, colour tags, metadata, sound and subtitles are
    carried over as far as the output's container can (Matroska rounds times to 1 ms; static HDR
    metadata are not carried). The output gets its name only when it is complete.

    Args:
        src: Any file that PyAV reads, or .y4m, or .yuv (then with `options.yuv_size`).
        dst: Output; its suffix chooses the container (.y4m and .yuv hold bare samples).
        restorer: Takes and returns a 16-bit picture, (H, W, 3) RGB or (H, W) gray; the result
            may be larger by a constant scale. If its `config` has an interval head, it is called
            with `coding=...` for frames of Motion JPEG.
        options: How to read and write; defaults if None.
        overwrite: Whether an existing `dst` may be replaced.
        progress: Whether a progress bar is shown.

    Returns:
        The summary.

    Raises:
        FileNotFoundError: If there is no `src`, or no folder for `dst`.
        FileExistsError: If `dst` exists and may not be replaced.
        ValueError: If the input cannot be read, the options do not fit it, or the encoder refuses.
    """
    src, dst, options = Path(src), Path(dst), options or VideoOptions()
    if not dst.parent.is_dir():
        raise FileNotFoundError(f"{dst.parent}: no such folder for the output {dst.name}")
    if dst.exists() and (src.resolve() == dst.resolve() or not overwrite):
        raise FileExistsError(f"{dst}: exists; choose another name or pass --overwrite")
    start = time.monotonic()
    source = _open_source(src, options, codings=_looks_at_codings(restorer))
    try:
        sink = _open_sink(dst, source, options)
        try:
            _run(source, sink, restorer, progress=progress, depth=options.queue_depth)
            sink.finish()
        except FFmpegError as error:
            sink.abandon()
            raise ValueError(f"{dst}: encoding failed ({error})") from error
        except BaseException:
            sink.abandon()
            raise
    finally:
        source.close()
    return _summarise(source, sink, time.monotonic() - start)


def _looks_at_codings(restorer: Restore) -> bool:
    return getattr(getattr(restorer, "config", None), "interval_head", False)


def _open_source(
    path: Path, options: VideoOptions, *, codings: bool
) -> RawSource | ContainerSource:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix.lower() in RAW_SUFFIXES:
        return RawSource(path, options)
    return ContainerSource(path, options, codings=codings)


def _open_sink(
    path: Path, source: RawSource | ContainerSource, options: VideoOptions
) -> RawSink | ContainerSink:
    kind = RawSink if path.suffix.lower() in RAW_SUFFIXES else ContainerSink
    return kind(path, source.info, options, source.container, source.streams)


def _run(source: Any, sink: Any, restorer: Restore, *, progress: bool, depth: int) -> None:
    total = source.info.num_frames or None
    bar = Progress(total, f"restoring {sink.path.name}", "frame", enabled=progress)
    pixels = source.info.format.width * source.info.format.height

    def transform(item: Any) -> Any:
        if not isinstance(item, Picture):
            return item
        told = {} if item.coding is None else {"coding": item.coding}
        return dataclasses.replace(item, rgb=restorer(item.rgb, **told))

    def consume(item: Any) -> None:
        if isinstance(item, Picture):
            sink.write(item)
            bar.advance(pixels=pixels)
        else:
            sink.mux(item)

    with bar:
        run_pipeline(source.items(), transform, consume, depth=depth)


def _summarise(source: Any, sink: Any, seconds: float) -> VideoSummary:
    info, fmt, color = source.info, sink.format, source.info.color
    notes = (*source.notes, *sink.notes)
    for note in notes:
        logging.warning("%s: %s", sink.path.name, note)
    return VideoSummary(
        sink.num_frames,
        f"{info.codec} {info.format.width}x{info.format.height} {info.format.pixel_format}",
        f"{fmt.width}x{fmt.height} {fmt.pixel_format}",
        f"{color.matrix} {'full' if color.full_range else 'limited'} range, chroma {color.siting}",
        sink.num_copied_streams,
        seconds,
        notes,
    )
