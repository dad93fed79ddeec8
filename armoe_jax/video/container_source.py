"""Reading containers and bare bitstreams through PyAV.

PyAV does not tell where chroma samples lie: "left" is assumed (what H.264, HEVC and VVC mean when
they say nothing), "center" for Motion JPEG and MPEG-1; an option overrides it.
"""

import dataclasses
import heapq
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from av.error import FFmpegError

from armoe_jax.images.jpeg import JpegCoding, read_jpeg_coding
from armoe_jax.video.color import planes_to_rgb
from armoe_jax.video.frames import frame_format, planes_of, rgb_of
from armoe_jax.video.info import (
    DEFAULT_RATE,
    UNSPECIFIED,
    ColorTags,
    Picture,
    SourceInfo,
    color_spec,
)
from armoe_jax.video.options import BITSTREAM_FORMATS, VideoOptions
from armoe_jax.video.pyav import as_fraction, open_container

# Containers whose times belong to packets in the order of decoding: a frame has the earliest that
# no frame before it had.
_TIMES_IN_ORDER_OF_DECODING = {"avi": "dts", "mxf": "pts"}
_CENTERED_CODECS = frozenset({"mjpeg", "mpeg1video"})
# Mean difference in levels between the luma of a frame and what its coding decodes to: decoders
# round differently, but a field, a turned picture and the like are another picture.
_SAME_LUMA = 1.0


class _Decoded(NamedTuple):
    """A frame of PyAV, and the packet that it came from."""

    frame: Any
    packet: Any


class ContainerSource:
    """Anything that PyAV opens: its first video stream, and packets of the others as they are.

    Args:
        path: The file.
        options: How to read it.
        codings: Whether pictures of Motion JPEG tell how they were coded.

    Raises:
        ValueError: If it is no video that can be read, or the options do not fit it.
    """

    def __init__(self, path: Path, options: VideoOptions, *, codings: bool = False):
        self._path, self._options, self._codings = path, options, codings
        self.notes: list[str] = []
        bitstream = BITSTREAM_FORMATS.get(path.suffix.lower())
        try:
            self.container = open_container(str(path), format=bitstream)
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
        if self.video.codec_context is None:
            raise ValueError(f"{self._path}: its video is of a codec that FFmpeg does not know")
        self._codings &= self.video.codec_context.codec.canonical_name == "mjpeg"
        # With a thread for each frame, frames come some packets later.
        self.video.thread_type = "SLICE" if self._codings else "AUTO"
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
            if isinstance(item, _Decoded):
                break
        else:
            raise ValueError(f"{self._path}: no frame could be decoded")
        self._bare = bare
        self.info = self._describe(self._head[-1].frame)

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
            grid_rate=None if self._bare else as_fraction(self.video.base_rate),
        )

    def _decode(self) -> Iterator[Any]:
        """Yields decoded frames, and packets of the copied streams, in file order."""
        field, times = _TIMES_IN_ORDER_OF_DECODING.get(self.container.format.name), []
        for packet in self.container.demux(self.video, *self.streams):
            if packet.stream is not self.video:
                if packet.dts is not None:
                    yield packet
                continue
            if field and packet.size:
                heapq.heappush(times, getattr(packet, field) or 0)
            try:
                frames = packet.decode()
            except EOFError:
                return
            except FFmpegError:
                self._damaged += 1
                continue
            for frame in frames:
                if times:
                    frame.pts = heapq.heappop(times)
                yield _Decoded(frame, packet)

    def items(self) -> Iterator[Any]:
        """Yields `Picture`s, and packets of the copied streams.

        Raises:
            ValueError: If the picture's size or format changes on the way.
        """
        number, corrupt, times = 0, 0, _Times(self.info, bare=self._bare)
        for item in itertools.chain(self._head, self._decoded):
            if not isinstance(item, _Decoded):
                yield item
                continue
            frame = item.frame
            pts, duration = times.next(frame.pts, frame.duration)
            corrupt += bool(frame.is_corrupt)
            rgb = self._to_rgb(frame, number)
            yield Picture(rgb, pts, duration, self._coding_of(item) if self._codings else None)
            number += 1
        self._note_damage(number, corrupt)

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

    def _coding_of(self, decoded: _Decoded) -> JpegCoding | None:
        """Reads the coding of a frame, which holds for its RGB only in JPEG's own colours."""
        fmt, color = self.info.format, self.info.color
        if self.info.is_rgb or fmt.bits != 8 or color.matrix != "bt601" or not color.full_range:
            return None
        coding = read_jpeg_coding(bytes(decoded.packet))
        if not isinstance(coding, JpegCoding) or coding.size != (fmt.height, fmt.width):
            return None
        luma = np.clip(coding.decoded_luma() + 128, 0, 255)
        miss = np.abs(luma - planes_of(decoded.frame, fmt)[0]).mean()
        return coding if miss < _SAME_LUMA else None

    def _note_damage(self, decoded: int, corrupt: int) -> None:
        if self._damaged or corrupt:
            self.notes.append(f"damaged: {self._damaged} packets lost, {corrupt} frames concealed")
        if decoded < self.info.num_frames:
            self.notes.append(f"{self.info.num_frames} frames announced, {decoded} found")

    def close(self) -> None:
        """Closes the file."""
        self.container.close()


class _Times:
    """Times of frames, in units of the source; what is missing or does not advance is repaired."""

    def __init__(self, info: SourceInfo, *, bare: bool):
        self._frame_time = 1 / (info.rate * info.time_base)
        self._bare = bare
        self._last: int | None = None
        self._known, self._since = 0, 0  # the last time stated, and frames since then

    def next(self, pts: int | None, duration: int) -> tuple[int, int]:
        """Returns time and duration of the next frame, of which these are stated."""
        if self._bare:
            pts, duration = None, 0
        if pts is None:
            pts = self._known + round(self._since * self._frame_time)
        elif self._last is None or pts > self._last:
            self._known, self._since = pts, 0
        if self._last is not None:
            pts = max(pts, self._last + 1)
        self._last, self._since = pts, self._since + 1
        return pts, duration or max(1, round(self._frame_time))
