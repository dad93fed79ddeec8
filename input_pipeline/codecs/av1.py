"""AV1 still pictures (AVIF) by libsvtav1, at a fixed quantiser."""

from typing import ClassVar

from input_pipeline.codecs import ffmpeg
from input_pipeline.codecs.video import FFmpegVideoCodec


class AV1(FFmpegVideoCodec):
    """libsvtav1 in its still-picture mode; the quality is its CRF."""

    name = "av1"
    suffix = ".avif"
    quality_name = "qp"
    quality_range = (1, 63)
    presets = tuple(str(number) for number in range(10, -1, -1))
    default_preset = "6"
    loop_filters = ("deblocking", "cdef", "restoration")
    min_side = 16
    encoder = "libsvtav1"
    format = "avif"

    _switches: ClassVar[dict[str, str]] = {
        "deblocking": "enable-dlf=0",
        "cdef": "enable-cdef=0",
        "restoration": "enable-restoration=0",
    }

    def encoder_arguments(self, quality: int | str) -> list[str]:
        """See `FFmpegVideoCodec.encoder_arguments`."""
        parameters = [
            *("avif=1", "lp=1"),
            *(self._switches[name] for name in sorted(set(self.options.disabled_filters))),
        ]
        return [
            *("-c:v", self.encoder, "-preset", self.preset, "-crf", str(quality)),
            *("-svtav1-params", ":".join(parameters)),
        ]

    def _read_bitstream(self, bitstream: bytes) -> bytes:
        return ffmpeg.run_with_input_file(
            ["-f", "rawvideo", "-pix_fmt", self.pixel_format, "pipe:1"],
            bitstream,
            suffix=self.suffix,
            what=self._decoding,
        )
