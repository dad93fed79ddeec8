"""Bare samples, .y4m and .yuv, with our own readers and writers."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from armoe_jax.video import yuv
from armoe_jax.video.color import planes_to_rgb
from armoe_jax.video.info import (
    DEFAULT_RATE,
    ColorTags,
    Picture,
    SourceInfo,
    color_spec,
    output_tags,
)
from armoe_jax.video.options import VideoOptions
from armoe_jax.video.sink import Sink


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
            header = yuv.read_y4m_header(path)
            self._read = functools.partial(yuv.read_y4m, path)
        else:
            header = _yuv_header(path, options)
            self._read = functools.partial(yuv.read_yuv, path, header.format)
            self._read()  # refuses a file that does not hold whole frames
        self.notes: list[str] = []
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

    def planes(self) -> Iterator[yuv.Planes]:
        """Yields the samples of each frame, from the first one on whenever it is called."""
        return self._read()

    def items(self) -> Iterator[Picture]:
        """Yields the pictures in order."""
        for number, planes in enumerate(self.planes()):
            rgb = planes_to_rgb(planes, self.info.format, self.info.color)
            yield Picture(rgb, number, 1)

    def close(self) -> None:
        """Does nothing: the file is closed with the last frame."""


class RawSink(Sink):
    """A .y4m or .yuv file: lossless, constant frame rate, pictures only."""

    def __init__(
        self,
        path: Path,
        info: SourceInfo,
        options: VideoOptions,
        source: Any = None,
        streams: tuple[Any, ...] = (),
    ):
        super().__init__(path, info, options)
        if options.codec not in (None, "rawvideo"):
            raise ValueError(f"{path}: {path.suffix} holds bare samples, not {options.codec}")
        if streams:
            self.notes.append(f"{path.suffix} holds no sound: {len(streams)} streams left out")
        self._writer: yuv.YuvWriter | yuv.Y4mWriter | None = None
        self._next_pts: int | None = None
        self._uneven = False

    def _configure(self, width: int, height: int) -> yuv.YuvFormat:
        fmt = self._wanted_format(width, height, self.options.pixel_format)
        tags = output_tags(self.info, self.options, resized=False)
        header = yuv.VideoHeader(
            fmt,
            self.info.rate,
            self.color.siting,
            self.color.full_range if tags.range else None,
            self.info.pixel_aspect,
        )
        kind = yuv.Y4mWriter if self.path.suffix.lower() == ".y4m" else yuv.YuvWriter
        self._writer = kind(self.partial, header)
        return fmt

    def _write(self, planes: yuv.Planes, picture: Picture) -> None:
        assert self._writer is not None
        frame_time = 1 / (self.info.rate * self.info.time_base)
        if self._next_pts is not None:
            self._uneven |= abs(picture.pts - self._next_pts) > max(1, frame_time / 2)
        self._next_pts = picture.pts + round(frame_time)
        self._writer.write(planes)

    def mux(self, packet: Any) -> None:
        """Drops a packet of another stream, as noted."""

    def _finish(self) -> None:
        assert self._writer is not None
        self._writer.close()
        if self._uneven:
            self.notes.append(f"{self.path.suffix} has a constant rate: time stamps not kept")

    def _abandon(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _yuv_header(path: Path, options: VideoOptions) -> yuv.VideoHeader:
    if options.yuv_size is None:
        raise ValueError(f"{path}: a .yuv file states no size; give --yuv-size WxH")
    fmt = yuv.parse_yuv_format(options.yuv_format, *options.yuv_size)
    return yuv.VideoHeader(fmt, options.fps or DEFAULT_RATE)
