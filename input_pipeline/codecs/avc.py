"""AVC (H.264) by libx264, all-intra, at a fixed QP."""

from typing import ClassVar

from input_pipeline.codecs.video import FFmpegVideoCodec


class AVC(FFmpegVideoCodec):
    """libx264 without its quantiser offset for intra pictures and its adaptive quantisation.

    The encoder's list of its own settings (an SEI message of half a kilobyte) is left out.
    """

    name = "avc"
    suffix = ".264"
    quality_range = (1, 51)  # 0 would be lossless, in another profile
    presets = (
        *("ultrafast", "superfast", "veryfast", "faster", "fast"),
        *("medium", "slow", "slower", "veryslow", "placebo"),
    )
    default_preset = "medium"
    loop_filters = ("deblocking",)
    min_side = 8
    encoder = "libx264"
    format = "h264"

    _switches: ClassVar[dict[str, str]] = {"deblocking": "no-deblock=1"}

    def encoder_arguments(self, quality: int | str) -> list[str]:
        """See `FFmpegVideoCodec.encoder_arguments`."""
        parameters = [
            *("keyint=1", "ipratio=1.0", "aq-mode=0", "threads=1"),
            *(self._switches[name] for name in sorted(set(self.options.disabled_filters))),
        ]
        return [
            *("-c:v", self.encoder, "-preset", self.preset, "-qp", str(quality), "-g", "1"),
            *("-x264-params", ":".join(parameters), "-bsf:v", "filter_units=remove_types=6"),
        ]
