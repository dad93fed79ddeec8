"""VVC (H.266) by libvvenc, all-intra, at a fixed QP."""

from typing import Any, ClassVar

from input_pipeline.codecs.base import CodecOptions
from input_pipeline.codecs.color import check_size, round_10_to_8_bit, yuv420_size
from input_pipeline.codecs.video import FFmpegVideoCodec

REFERENCE_LAMBDA = 0.8
"""With preset `medium`, this factor gives the reference encoder's PSNR at equal QP."""


class VVC(FFmpegVideoCodec):
    """libvvenc; every picture is coded at the QP asked for.

    The encoder's presets lower the QP of intra pictures by 3 and adapt it to perception; both are
    switched off. It takes 10-bit samples only; the decoded picture is rounded to 8 bits.
    """

    name = "vvc"
    suffix = ".266"
    quality_range = (0, 63)
    presets = ("faster", "fast", "medium", "slow", "slower")
    default_preset = "medium"
    loop_filters = ("alf", "ccalf", "sao", "deblocking")
    takes = ("lambda_modifier",)
    min_side = 16
    encoder = "libvvenc"
    format = "vvc"
    pixel_format = "yuv420p10le"

    _switches: ClassVar[dict[str, str]] = {
        "alf": "alf=0",
        "ccalf": "ccalf=0",
        "sao": "sao=0",
        "deblocking": "loopfilterdisable=1",
    }

    def __init__(self, options: CodecOptions) -> None:
        if options.lambda_modifier < 0:
            raise ValueError(
                f"lambda_modifier is {options.lambda_modifier}, expected a positive factor, "
                "or 0 for the preset's default"
            )
        super().__init__(options)
        default = REFERENCE_LAMBDA if self.preset == "medium" else 1.0
        self.lambda_modifier = options.lambda_modifier or default

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec.settings`."""
        return {**super().settings, "lambda_modifier": self.lambda_modifier}

    def encoder_arguments(self, quality: int | str) -> list[str]:
        """See `FFmpegVideoCodec.encoder_arguments`."""
        parameters = ["intraqpoffset=0"]
        if self.lambda_modifier != 1.0:
            parameters.append(f"lambdamodifieri={self.lambda_modifier:g}")
        disabled = set(self.options.disabled_filters)
        if "alf" in disabled:
            disabled.add("ccalf")  # cross-component ALF is a part of ALF
        parameters += [self._switches[name] for name in sorted(disabled)]
        return [
            *("-c:v", self.encoder, "-preset", self.preset, "-qp", str(quality), "-qpa", "0"),
            *("-g", "1", "-threads", "1", "-vvenc-params", ":".join(parameters)),
        ]

    def decode_planes(self, bitstream: bytes, height: int, width: int) -> bytes:
        """See `VideoCodec.decode_planes`."""
        planes = self._read_bitstream(bitstream)
        check_size(planes, 2 * yuv420_size(height, width), self._decoding)
        return round_10_to_8_bit(planes)
