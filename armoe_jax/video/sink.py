"""Writing videos: .y4m and .yuv with our own writers, all else through PyAV.

A sink writes under a name that no player and none of our commands takes for a video, and renames
the file when it is complete.
"""

import abc
import os
from pathlib import Path
from typing import Any

import av
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError

from armoe_jax.video import yuv
from armoe_jax.video.color import ColorSpec, rgb_to_planes
from armoe_jax.video.frames import frame_from_planes
from armoe_jax.video.info import ColorTags, Picture, SourceInfo, output_tags
from armoe_jax.video.options import RAW_SUFFIXES, VideoOptions, encoder_settings

# Sound often begins a little before zero (priming samples of AAC and Opus). Matroska can hold that;
# without this the whole file, pictures included, would be shifted by it.
_MUXER = {name: {"avoid_negative_ts": "disabled"} for name in ("matroska", "webm")}
_CHROMA_ORDER = ("400", "420", "422", "444")


class _Sink(abc.ABC):
    """Common part: the temporary name, and pictures to planes."""

    def __init__(self, path: Path, info: SourceInfo, options: VideoOptions):
        self.path, self.info, self.options = path, info, options
        self.partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        self.notes: list[str] = []
        self.num_frames = 0
        self.num_copied_streams = 0
        self.format: yuv.YuvFormat | None = None
        self.color: ColorSpec = info.color
        self._open = False

    def write(self, picture: Picture) -> None:
        """Appends a picture; the first one sets the size.

        Raises:
            ValueError: If the encoder refuses the size or its settings.
        """
        if self.format is None:
            height, width = picture.rgb.shape[:2]
            self.format = self._configure(width, height)
            self._open = True
        self._write(rgb_to_planes(picture.rgb, self.format, self.color), picture)
        self.num_frames += 1

    def finish(self) -> None:
        """Completes the file and gives it its name."""
        self._finish()
        self._open = False
        os.replace(self.partial, self.path)

    def abandon(self) -> None:
        """Removes what was written."""
        self._abandon()
        self.partial.unlink(missing_ok=True)

    def _wanted_format(self, width: int, height: int, name: str | None) -> yuv.YuvFormat:
        source = self.info.format
        if name is None:
            return yuv.YuvFormat(width, height, source.chroma, source.bits)
        return yuv.parse_yuv_format(name, width, height)

    @abc.abstractmethod
    def mux(self, packet: Any) -> None:
        """Takes a packet of another stream."""

    @abc.abstractmethod
    def _configure(self, width: int, height: int) -> yuv.YuvFormat:
        """Starts the file for pictures of this size."""

    @abc.abstractmethod
    def _write(self, planes: yuv.Planes, picture: Picture) -> None:
        """Appends samples."""

    @abc.abstractmethod
    def _finish(self) -> None:
        """Writes what is outstanding and closes the file."""

    @abc.abstractmethod
    def _abandon(self) -> None:
        """Closes the file without a care for its contents."""


class RawSink(_Sink):
    """A .y4m or .yuv file: lossless, constant frame rate, pictures only."""

    def __init__(self, path: Path, info: SourceInfo, options: VideoOptions, streams: tuple = ()):
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


class ContainerSink(_Sink):
    """A file written through PyAV, with the input's other streams copied."""

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
        container_format = _container_format(path)
        try:
            self._container = av.open(
                str(self.partial),
                "w",
                format=container_format,
                options=_MUXER.get(container_format, {}),
            )
        except FFmpegError as error:
            raise ValueError(f"{path}: cannot be written ({error})") from error
        try:
            self._add_streams(settings, source, streams)
        except BaseException:
            self.abandon()
            raise

    def _add_streams(self, settings: dict[str, str], source: Any, streams: tuple) -> None:
        supported = self._container.supported_codecs
        for name in (self._encoder.canonical_name, *(_codec_name(s) for s in streams)):
            if name not in supported:
                raise ValueError(
                    f"{self.path}: {self.path.suffix} cannot hold {name}; write .mkv, or leave the "
                    "sound and subtitles out with --no-audio"
                )
        self._stream = self._container.add_stream(
            self._encoder.name, rate=self.info.rate, options=settings
        )
        self._copies = {s.index: self._container.add_stream_from_template(s) for s in streams}
        self.num_copied_streams = len(streams)
        self._waiting: list[Any] = []
        if source is not None:
            self._container.metadata.update(source.metadata)
            for stream in streams:
                self._copies[stream.index].metadata.update(stream.metadata)

    def _configure(self, width: int, height: int) -> yuv.YuvFormat:
        wanted = self._wanted_format(width, height, self.options.pixel_format)
        fmt = self._encodable(wanted)
        resized = (width, height) != (self.info.format.width, self.info.format.height)
        self._tags = output_tags(self.info, self.options, resized=resized)
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, fmt.pixel_format
        context.time_base = self.info.time_base
        self._stream.time_base = self.info.time_base
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
        for packet in self._waiting:
            self._copy(packet)
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
        frame.pts, frame.duration = picture.pts, picture.duration
        frame.time_base = self.info.time_base
        _set_tags(frame, self._tags)
        self._container.mux(self._stream.encode(frame))

    def mux(self, packet: Any) -> None:
        """Copies a packet of another stream (kept back until the first picture is there)."""
        if self._open:
            self._copy(packet)
        else:
            self._waiting.append(packet)

    def _copy(self, packet: Any) -> None:
        packet.stream = self._copies[packet.stream.index]
        self._container.mux(packet)

    def _finish(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def _abandon(self) -> None:
        try:
            self._container.close()
        except (FFmpegError, ValueError, OSError):
            return  # the file is removed anyhow


def open_sink(
    path: Path, info: SourceInfo, options: VideoOptions, source: Any, streams: tuple[Any, ...]
) -> RawSink | ContainerSink:
    """Opens a video for writing, under a temporary name.

    Args:
        path: Final name; its suffix chooses the container.
        info: The input.
        options: Encoder and format.
        source: PyAV's input container, whose metadata are copied, or None.
        streams: Its streams to be copied.

    Raises:
        ValueError: If container, encoder and copied streams do not go together.
    """
    if path.suffix.lower() in RAW_SUFFIXES:
        return RawSink(path, info, options, streams)
    return ContainerSink(path, info, options, source, streams)


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


def _container_format(path: Path) -> str:
    suffix = path.suffix.lower().lstrip(".")
    names = {"mkv": "matroska", "ts": "mpegts", "m2ts": "mpegts", "mts": "mpegts", "m4v": "mp4"}
    names |= {"mpg": "mpeg", "wmv": "asf", "264": "h264", "265": "hevc", "ogv": "ogg"}
    name = names.get(suffix, suffix)
    if name not in av.formats_available:
        raise ValueError(f"{path}: no container is known by {path.suffix!r}; e.g. .mkv or .mp4")
    return name


def _codec_name(stream: Any) -> str:
    return stream.codec_context.codec.canonical_name


def _set_tags(target: Any, tags: ColorTags) -> None:
    """Sets the colour tags of an encoder or a frame."""
    target.colorspace, target.color_range = tags.matrix, tags.range
    target.color_primaries, target.color_trc = tags.primaries, tags.transfer
