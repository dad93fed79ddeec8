"""The tables of codecs: a new one is a file, a row here and the next free number."""

from input_pipeline.codecs.av1 import AV1
from input_pipeline.codecs.avc import AVC
from input_pipeline.codecs.base import Codec, CodecOptions
from input_pipeline.codecs.hevc import HEVC
from input_pipeline.codecs.jpeg import JPEG
from input_pipeline.codecs.vtm import VTM
from input_pipeline.codecs.vvc import VVC

CODECS: dict[str, type[Codec]] = {
    "vvc": VVC,
    "vtm": VTM,
    "hevc": HEVC,
    "avc": AVC,
    "av1": AV1,
    "jpeg": JPEG,
}

CODEC_IDS: dict[str, int] = {"": 0, "vvc": 1, "vtm": 2, "hevc": 3, "avc": 4, "av1": 5, "jpeg": 6}
"""Number of a codec in the `codec` label of a training record; 0 is "none or unknown"."""


def get_codec(name: str, options: CodecOptions | None = None) -> Codec:
    """Returns a codec of the table, ready to encode.

    Raises:
        KeyError: If the codec is unknown.
        ValueError: If it does not take these options.
        FileNotFoundError: If a program that it needs is absent.
    """
    if name not in CODECS:
        raise KeyError(f"codec {name!r} is unknown; choose one of {', '.join(CODECS)}")
    return CODECS[name](options or CodecOptions())
