"""Opens videos for reading: .y4m and .yuv with our own readers, all else through PyAV."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from armoe_jax.video import yuv
from armoe_jax.video.color import planes_to_rgb
from armoe_jax.video.container import ContainerSource
from armoe_jax.video.info import DEFAULT_RATE, ColorTags, Picture, SourceInfo, color_spec
from armoe_jax.video.options import RAW_SUFFIXES, VideoOptions


class RawSource:
    """A .y4m or .yuv file."""

    container = None
    streams: tuple[Any, ...] = ()

    def __init__(self, path: Path, options: VideoOptions):
        if path.suffix.lower() == ".y4m":
            if options.fps or options.yuv_size:
                raise ValueError(
                    f"{path}: a .y4m file states its size and rate; leave the flags out"
                )
            header, frames = yuv.read_y4m_header(path), yuv.read_y4m(path)
        else:
            header = _yuv_header(path, options)
            frames = yuv.read_yuv(path, header.format)
        self.notes: list[str] = []
        self._frames = frames
        full_range = header.full_range
        tags = ColorTags(range=0 if full_range is None else 1 + full_range)
        siting = header.siting or "left"
        self.info = SourceInfo(
            "rawvideo",
            header.format,
            color_spec(path, tags, header.format.height, siting, options),
            tags,
            header.rate,
            1 / header.rate,
            pixel_aspect=header.pixel_aspect,
            num_frames=path.stat().st_size // header.format.frame_bytes,
        )

    def items(self) -> Iterator[Picture]:
        """Yields the pictures in order."""
        for number, planes in enumerate(self._frames):
            rgb = planes_to_rgb(planes, self.info.format, self.info.color)
            yield Picture(rgb, number, 1)

    def close(self) -> None:
        """Does nothing: the file is closed with the last frame."""


def open_source(path: Path, options: VideoOptions) -> RawSource | ContainerSource:
    """Opens a video for reading.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read as a video, or the options do not fit it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix.lower() in RAW_SUFFIXES:
        return RawSource(path, options)
    return ContainerSource(path, options)


def _yuv_header(path: Path, options: VideoOptions) -> yuv.VideoHeader:
    if options.yuv_size is None:
        raise ValueError(f"{path}: a .yuv file states no size; give --yuv-size WxH")
    fmt = yuv.parse_yuv_format(options.yuv_format, *options.yuv_size)
    return yuv.VideoHeader(fmt, options.fps or DEFAULT_RATE)
