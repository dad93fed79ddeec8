"""Writing containers through PyAV, with the input's other streams carried over."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import av
from av.codec.codec import UnknownCodecError
from av.error import ArgumentError, FFmpegError, InvalidDataError

from armoe_jax.video import yuv
from armoe_jax.video.aspect import keep_pixel_aspect
from armoe_jax.video.frames import frame_from_planes
from armoe_jax.video.info import ColorTags, Picture, SourceInfo, output_tags
from armoe_jax.video.muxer import muxer_of
from armoe_jax.video.options import VideoOptions, encoder_settings
from armoe_jax.video.pyav import codec_name
from armoe_jax.video.sink import Sink
from armoe_jax.video.streams import carried_stream

_CHROMA_ORDER = ("400", "420", "422", "444")
_UNEVEN = 0.3  # of a frame's time: more than rounding to the units of any container


class ContainerSink(Sink):
    """A file written through PyAV."""

    def __init__(
        self,
        path: Path,
        info: SourceInfo,
        options: VideoOptions,
        source: Any = None,
        streams: tuple[Any, ...] = (),
    ):
        super().__init__(path, info, options)
        codec, settings = encoder_settings(path.suffix.lower(), options)
        self._encoder = _find_encoder(codec)
        self._muxer = muxer_of(path)
        self._rate, self._time_base = info.rate, info.time_base
        if self._muxer.constant_rate and info.grid_rate:
            self._rate, self._time_base = info.grid_rate, 1 / info.grid_rate
        self._slot, self._uneven = -1, False
        self._started = False
        self._waiting: list[Any] = []
        self._lost: Counter[int] = Counter()
        try:
            self._container = self._muxer.open(str(self.partial))
        except FFmpegError as error:
            raise ValueError(f"{path}: cannot be written ({error})") from error
        try:
            self._add_pictures(settings)
            self._carried = {stream.index: self._add_stream(stream) for stream in streams}
            self.num_copied_streams = sum(map(bool, self._carried.values()))
            if source is not None:
                self._describe(source)
        except BaseException:
            self.abandon()
            raise

    def _add_pictures(self, settings: dict[str, str]) -> None:
        try:
            self._stream = self._container.add_stream(
                self._encoder.name, rate=self._rate, options=settings
            )
        except ValueError as error:
            raise ValueError(
                f"{self.path}: {self.path.suffix} cannot hold {self._encoder.canonical_name}; "
                "write .mkv, or choose another --video-codec"
            ) from error

    def _add_stream(self, stream: Any) -> Any:
        carried = carried_stream(stream, self._container, self._muxer)
        if carried is None:
            self.notes.append(
                f"{self.path.suffix} cannot hold {codec_name(stream)}: stream {stream.index} "
                f"({stream.type}) is left out"
            )
        return carried

    def _describe(self, source: Any) -> None:
        """Carries over what is said about the file and its pictures."""
        self._container.metadata.update(source.metadata)
        # Muxers refuse impossible times.
        chapters = [c for c in source.chapters() if 0 <= c["start"] <= c["end"]]
        self._container.set_chapters(chapters)
        pictures = source.streams.video[0]
        self._stream.disposition = int(pictures.disposition)
        for name in ("language", "title"):
            if name in pictures.metadata:
                self._stream.metadata[name] = pictures.metadata[name]

    def _configure(self, width: int, height: int) -> yuv.YuvFormat:
        wanted = self._wanted_format(width, height, self.options.pixel_format)
        fmt = self._encodable(wanted)
        resized = (width, height) != (self.info.format.width, self.info.format.height)
        self._tags = output_tags(self.info, self.options, resized=resized)
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, fmt.pixel_format
        context.time_base = self._stream.time_base = self._time_base
        if self._muxer.constant_rate:
            context.max_b_frames = 0
        if self.info.pixel_aspect:
            context.sample_aspect_ratio = self.info.pixel_aspect
        _set_tags(context, self._tags)
        if self.info.rotation:
            self._stream.set_display_rotation(self.info.rotation)
        try:
            self._container.start_encoding()
        except (FFmpegError, ValueError) as error:
            raise ValueError(
                f"{self.path}: {self._encoder.name} refuses {width}x{height} {fmt.pixel_format} "
                f"({error}); H.264 and H.265 need even sizes: take ffv1, libsvtav1 or libvpx-vp9"
            ) from error
        self._started = True
        for packet in self._waiting:
            self.mux(packet)
        return fmt

    def _encodable(self, wanted: yuv.YuvFormat) -> yuv.YuvFormat:
        """Returns the nearest format that the encoder takes and that loses nothing."""
        names = {f.name for f in self._encoder.video_formats or []} or {wanted.pixel_format}
        if self.options.pixel_format:
            candidates = [wanted]
        else:
            richer = _CHROMA_ORDER[_CHROMA_ORDER.index(wanted.chroma) :]
            candidates = [
                yuv.YuvFormat(wanted.width, wanted.height, chroma, bits)
                for chroma in richer
                for bits in yuv.BIT_DEPTHS
                if bits >= wanted.bits
            ]
        for fmt in candidates:
            if fmt.pixel_format in names:
                return fmt
        planar = sorted(name for name in names if name.startswith(("yuv4", "gray")))
        raise ValueError(
            f"{self.path}: {self._encoder.name} does not take {wanted.pixel_format}; "
            f"give --pixel-format (one of {', '.join(planar)}) or another --video-codec"
        )

    def _write(self, planes: yuv.Planes, picture: Picture) -> None:
        assert self.format is not None
        frame = frame_from_planes(planes, self.format)
        if self._muxer.constant_rate:
            frame.pts, frame.duration = self._next_slot(picture.pts), 1
        else:
            frame.pts, frame.duration = picture.pts, picture.duration
        frame.time_base = self._time_base
        _set_tags(frame, self._tags)
        self._container.mux(self._stream.encode(frame))

    def _next_slot(self, pts: int) -> int:
        """Returns a frame's place in a container of constant rate."""
        exact = pts * self.info.time_base / self._time_base
        self._slot = max(self._slot + 1, round(exact))
        left_out = not self._muxer.gaps and self._slot > self.num_frames
        self._uneven |= left_out or abs(self._slot - exact) > _UNEVEN
        return self._slot

    def mux(self, packet: Any) -> None:
        """Carries a packet of another stream (kept back until the first picture is there)."""
        carried = self._carried[packet.stream.index]
        if carried is None:
            return
        if not self._started:
            self._waiting.append(packet)
            return
        index = packet.stream.index
        try:
            carried_packet = carried.carry(packet)
            if carried_packet is not None:
                self._container.mux(carried_packet)
        except (ArgumentError, InvalidDataError):
            self._lost[index] += 1  # one damaged packet of sound must not end the film

    def _finish(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        for index, count in self._lost.items():
            self.notes.append(f"damaged: {count} packets of stream {index} are lost")
        if self._uneven:
            self.notes.append(f"{self.path.suffix} has a constant rate: time stamps not kept")
        self.notes += keep_pixel_aspect(self.partial, self._muxer, self.info.pixel_aspect)

    def _abandon(self) -> None:
        try:
            self._container.close()
        except (FFmpegError, ValueError, OSError):
            return  # the file is removed anyhow


def _find_encoder(name: str) -> Any:
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 prints a banner otherwise
    try:
        codec = av.Codec(name, "w")
    except UnknownCodecError:
        raise ValueError(
            f"--video-codec {name!r} is not an encoder of this FFmpeg; for example libx264, "
            "libx265, libsvtav1, libvpx-vp9, ffv1"
        ) from None
    if codec.type != "video":
        raise ValueError(f"--video-codec {name!r} encodes {codec.type}, not video")
    return codec


def _set_tags(target: Any, tags: ColorTags) -> None:
    """Sets the colour tags of an encoder or a frame."""
    target.colorspace, target.color_range = tags.matrix, tags.range
    target.color_primaries, target.color_trc = tags.primaries, tags.transfer
