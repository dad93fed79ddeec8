"""HEVC (H.265) by libx265, all-intra, at a fixed QP."""

from typing import ClassVar

from input_pipeline.codecs.base import CodecError
from input_pipeline.codecs.video import FFmpegVideoCodec

_PICTURE_HASH = b"\x00\x00\x01\x50\x01\x84"
"""Start of a suffix SEI message with the decoded picture hash (H.265 sections 7.3.1.2, D.2.19)."""


class HEVC(FFmpegVideoCodec):
    """libx265 without its quantiser offset for intra pictures and its adaptive quantisation.

    The stream carries an MD5 of the decoded picture (about 25 bytes): the decoder would otherwise
    return a wrong picture for a damaged stream without saying so. The encoder's list of its own
    settings (2 kB, a sixth of a small picture's rate) is left out.
    """

    name = "hevc"
    suffix = ".265"
    quality_range = (0, 51)
    presets = (
        *("ultrafast", "superfast", "veryfast", "faster", "fast"),
        *("medium", "slow", "slower", "veryslow", "placebo"),
    )
    default_preset = "medium"
    loop_filters = ("sao", "deblocking")
    min_side = 16
    encoder = "libx265"
    format = "hevc"

    _switches: ClassVar[dict[str, str]] = {"sao": "sao=0", "deblocking": "deblock=0"}

    def encoder_arguments(self, quality: int | str) -> list[str]:
        """See `FFmpegVideoCodec.encoder_arguments`."""
        parameters = [
            *(f"qp={quality}", "keyint=1", "ipratio=1.0", "aq-mode=0", "cutree=0", "hash=1"),
            *("info=0", "log-level=error", "pools=1", "frame-threads=1"),
            *(self._switches[name] for name in sorted(set(self.options.disabled_filters))),
        ]
        return [
            *("-c:v", self.encoder, "-preset", self.preset),
            *("-x265-params", ":".join(parameters)),
        ]

    def decode_planes(self, bitstream: bytes, height: int, width: int) -> bytes:
        """See `VideoCodec.decode_planes`."""
        if _PICTURE_HASH not in bitstream:
            raise CodecError(f"{self._decoding}: bitstream is cut off, its picture hash is missing")
        return super().decode_planes(bitstream, height, width)
