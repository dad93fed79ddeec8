"""What all-intra video codecs share: even sizes, 4:2:0 planes, one picture through ffmpeg."""

import abc
from typing import Any, ClassVar

import numpy as np

from input_pipeline.codecs import ffmpeg
from input_pipeline.codecs.base import RGB, Codec, CodecError, CodecOptions
from input_pipeline.codecs.color import (
    check_size,
    pad_to_even,
    rgb_to_yuv420,
    yuv420_size,
    yuv420_to_rgb,
)


class VideoCodec(Codec):
    """A codec of 8-bit 4:2:0 pictures; odd sides are padded before and cropped after."""

    @abc.abstractmethod
    def encode_planes(self, planes: bytes, height: int, width: int, quality: int) -> bytes:
        """Returns the bitstream of an 8-bit 4:2:0 picture with even sides."""

    @abc.abstractmethod
    def decode_planes(self, bitstream: bytes, height: int, width: int) -> bytes:
        """Returns the 8-bit 4:2:0 picture in a bitstream."""

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec.settings`."""
        return {**super().settings, "odd_sizes": "padded by the edge, cropped after decoding"}

    def encode(self, image: RGB, quality: int) -> bytes:
        """See `Codec.encode`."""
        even = pad_to_even(image)
        height, width = even.shape[:2]
        planes = rgb_to_yuv420(even, self.options.colors)
        return self.encode_planes(planes, height, width, quality)

    def decode(self, bitstream: bytes, height: int, width: int) -> RGB:
        """See `Codec.decode`."""
        if not bitstream:
            raise CodecError(f"bitstream of codec {self.name} is empty")
        even_height, even_width = height + height % 2, width + width % 2
        planes = self.decode_planes(bitstream, even_height, even_width)
        image = yuv420_to_rgb(planes, even_height, even_width, self.options.colors)
        return np.ascontiguousarray(image[:height, :width])


class FFmpegVideoCodec(VideoCodec):
    """A video codec whose encoder and decoder are inside ffmpeg.

    Attributes:
        encoder: ffmpeg's name of the encoder.
        format: ffmpeg's name of the raw bitstream format.
        decoder_flags: Options that make the decoder refuse damaged streams.
    """

    encoder: ClassVar[str]
    format: ClassVar[str]
    pixel_format: ClassVar[str] = "yuv420p"
    decoder_flags: ClassVar[tuple[str, ...]] = ("-err_detect", "crccheck+explode", "-xerror")

    def __init__(self, options: CodecOptions) -> None:
        super().__init__(options)
        ffmpeg.require_encoder(self.encoder)

    @property
    def version(self) -> str:
        """See `Codec.version`."""
        return f"{ffmpeg.version()}, {self.encoder}"

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec.settings`; `encoder_arguments` is ffmpeg's command line."""
        return {**super().settings, "encoder_arguments": " ".join(self.encoder_arguments("QP"))}

    @abc.abstractmethod
    def encoder_arguments(self, quality: int | str) -> list[str]:
        """Returns ffmpeg's arguments that choose and set the encoder."""

    def encode_planes(self, planes: bytes, height: int, width: int, quality: int) -> bytes:
        """See `VideoCodec.encode_planes`."""
        return self._write_bitstream(
            [
                *("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}"),
                *("-i", "pipe:0", "-frames:v", "1", *self.encoder_arguments(quality)),
                *("-pix_fmt", self.pixel_format, "-f", self.format),
            ],
            planes,
        )

    def decode_planes(self, bitstream: bytes, height: int, width: int) -> bytes:
        """See `VideoCodec.decode_planes`."""
        planes = self._read_bitstream(bitstream)
        return check_size(planes, yuv420_size(height, width), self._decoding)

    @property
    def _decoding(self) -> str:
        return f"decoding {self.name}"

    def _write_bitstream(self, arguments: list[str], planes: bytes) -> bytes:
        # Into a file: libvvenc prints messages to standard output, AVIF needs to seek.
        return ffmpeg.run_with_output_file(
            arguments, suffix=self.suffix, what=f"encoding {self.name}", stdin=planes
        )

    def _read_bitstream(self, bitstream: bytes) -> bytes:
        return ffmpeg.run(
            [
                *(*self.decoder_flags, "-f", self.format, "-i", "pipe:0"),
                *("-f", "rawvideo", "-pix_fmt", self.pixel_format, "pipe:1"),
            ],
            what=self._decoding,
            stdin=bitstream,
        )
