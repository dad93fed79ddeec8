"""Reading containers and bare bitstreams through PyAV.

PyAV does not tell where chroma samples lie: "left" is assumed (what H.264, HEVC and VVC mean when
they say nothing), "center" for Motion JPEG and MPEG-1; an option overrides it.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from armoe_jax.video.color import planes_to_rgb
from armoe_jax.video.frames import frame_format, planes_of, rgb_of
from armoe_jax.video.info import (
    DEFAULT_RATE,
    UNSPECIFIED,
    ColorTags,
    Picture,
    SourceInfo,
    as_fraction,
    color_spec,
)
from armoe_jax.video.options import BITSTREAM_FORMATS, VideoOptions

_CENTERED_CODECS = frozenset({"mjpeg", "mpeg1video"})


class ContainerSource:
    """Anything that PyAV opens: its first video stream, and packets of the others as they are."""

    def __init__(self, path: Path, options: VideoOptions):
        self._path, self._options = path, options
        self.notes: list[str] = []
        bitstream = BITSTREAM_FORMATS.get(path.suffix.lower())
        try:
            self.container = av.open(str(path), format=bitstream)
        except FFmpegError as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(f"{path}: not a video that can be read ({error})") from error
        try:
            self._open(bare=bitstream is not None)
        except BaseException:
            self.close()
            raise

    def _open(self, *, bare: bool) -> None:
        if not self.container.streams.video:
            raise ValueError(f"{self._path}: has no video stream")
        self.video = self.container.streams.video[0]
        self.video.thread_type = "AUTO"
        if self._options.fps and not bare:
            raise ValueError(
                f"{self._path}: has time stamps of its own, which are kept; leave --fps out"
            )
        copied = ("audio", "subtitle") if self._options.audio else ()
        self.streams = tuple(s for s in self.container.streams if s.type in copied)
        for stream in self.container.streams:
            if stream is not self.video and stream.type not in ("audio", "subtitle"):
                self.notes.append(f"stream {stream.index} ({stream.type}) is left out")
        self._damaged = 0
        self._decoded = self._decode()
        self._head: list[Any] = []  # packets of other streams up to the first frame, and that
        for item in self._decoded:
            self._head.append(item)
            if _is_frame(item):
                break
        else:
            raise ValueError(f"{self._path}: no frame could be decoded")
        self._bare = bare or self._head[-1].pts is None
        self.info = self._describe(self._head[-1])

    def _describe(self, frame: Any) -> SourceInfo:
        rate = (
            as_fraction(self.video.average_rate)
            or as_fraction(self.video.guessed_rate)
            or DEFAULT_RATE
        )
        time_base = as_fraction(self.video.time_base)
        if self._bare:
            rate = self._options.fps or DEFAULT_RATE
        codec = self.video.codec_context.codec.canonical_name
        fmt, is_rgb = frame_format(frame, self._path)
        tags = ColorTags(
            int(frame.colorspace),
            2 if frame.format.name.startswith("yuvj") else int(frame.color_range),
            int(frame.color_primaries),
            int(frame.color_trc),
        )
        siting = "center" if codec in _CENTERED_CODECS else "left"
        if is_rgb:
            tags = dataclasses.replace(tags, matrix=UNSPECIFIED, range=0)
            self.notes.append(f"{frame.format.name} is written as 4:4:4 YUV")
        if getattr(frame, "interlaced_frame", False):
            self.notes.append("interlaced: fields are restored as one picture; deinterlace first")
        return SourceInfo(
            codec,
            fmt,
            color_spec(self._path, tags, fmt.height, siting, self._options),
            tags,
            rate,
            1 / rate if self._bare or not time_base else time_base,
            num_frames=self.video.frames or 0,
            pixel_aspect=as_fraction(self.video.sample_aspect_ratio),
            rotation=frame.rotation,
            is_rgb=is_rgb,
        )

    def _decode(self) -> Iterator[Any]:
        """Yields decoded frames, and packets of the copied streams, in file order."""
        for packet in self.container.demux(self.video, *self.streams):
            if packet.stream is not self.video:
                if packet.dts is not None:
                    yield packet
                continue
            try:
                yield from packet.decode()
            except EOFError:
                return
            except FFmpegError:
                self._damaged += 1

    def items(self) -> Iterator[Any]:
        """Yields `Picture`s, and packets of the copied streams.

        Raises:
            ValueError: If the picture's size or format changes on the way.
        """
        number, last, corrupt = 0, None, 0
        for item in itertools.chain(self._head, self._decoded):
            if not _is_frame(item):
                yield item
                continue
            pts, duration = self._times(item, number, last)
            corrupt += bool(item.is_corrupt)
            yield Picture(self._to_rgb(item, number), pts, duration)
            number, last = number + 1, pts
        self._note_damage(number, corrupt)

    def _times(self, frame: Any, number: int, last: int | None) -> tuple[int, int]:
        """Returns time and duration; times that are missing or do not advance are repaired."""
        if self._bare:
            return number, 1
        nominal = max(1, round(1 / (self.info.rate * self.info.time_base)))
        duration = frame.duration or nominal
        if frame.pts is None:
            return (0 if last is None else last + nominal), duration
        if last is not None and frame.pts <= last:
            return last + 1, duration
        return frame.pts, duration

    def _to_rgb(self, frame: Any, number: int) -> Any:
        fmt, is_rgb = frame_format(frame, self._path)
        if (fmt, is_rgb) != (self.info.format, self.info.is_rgb):
            raise ValueError(
                f"{self._path}: frame {number} is {fmt.width}x{fmt.height} {fmt.pixel_format}, the "
                f"first was {self.info.format.width}x{self.info.format.height} "
                f"{self.info.format.pixel_format}; cut the video where it changes"
            )
        if is_rgb:
            return rgb_of(frame, fmt)
        return planes_to_rgb(planes_of(frame, fmt), fmt, self.info.color)

    def _note_damage(self, decoded: int, corrupt: int) -> None:
        if self._damaged or corrupt:
            self.notes.append(f"damaged: {self._damaged} packets lost, {corrupt} frames concealed")
        if decoded < self.info.num_frames:
            self.notes.append(f"{self.info.num_frames} frames announced, {decoded} found")

    def close(self) -> None:
        """Closes the file."""
        self.container.close()


def _is_frame(item: Any) -> bool:
    return hasattr(item, "pict_type")
