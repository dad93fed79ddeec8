"""What differs between releases of PyAV."""

import io
from fractions import Fraction
from typing import Any, Literal

import av

_DECODES_STRICTLY = int(av.__version__.split(".")[0]) < 19


def open_container(file: str | io.BytesIO, mode: Literal["r", "w"] = "r", **arguments: Any) -> Any:
    """Opens a container with `av.open`, keeping metadata byte for byte, whatever their encoding."""
    if _DECODES_STRICTLY:
        arguments["metadata_errors"] = "surrogateescape"
    return av.open(file, mode, **arguments)


def as_fraction(value: Any) -> Fraction | None:
    """Returns a time base, rate or aspect of PyAV, or None if it is not set.

    Up to release 18 these are `Fraction` or None; since then `AVRational`, which may also be 0/1,
    1/0 or 0/0, all of them false.
    """
    return Fraction(value.numerator, value.denominator) if value else None


def codec_name(stream: Any) -> str:
    """Returns FFmpeg's name of a stream's codec, or "an unknown codec"."""
    context = stream.codec_context
    return context.codec.canonical_name if context is not None else "an unknown codec"
