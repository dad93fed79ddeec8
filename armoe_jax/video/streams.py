"""Sound and subtitles: which of them an output can hold, and carrying them over."""

from collections.abc import Callable
from typing import Any

from armoe_jax.video.muxer import Muxer
from armoe_jax.video.pyav import codec_name

_TEXT_SUBTITLES = frozenset({"ass", "mov_text", "ssa", "subrip", "text", "webvtt"})
_TEXT_ENCODERS = ("subrip", "mov_text", "webvtt")


class CopiedStream:
    """A stream whose packets go to the output as they are."""

    def __init__(self, source: Any, target: Any):
        _describe(source, target)
        self._target = target

    def carry(self, packet: Any) -> Any:
        """Returns a packet for the output."""
        packet.stream = self._target
        return packet


class WrittenSubtitles:
    """Text subtitles, written anew in the format that the output's container takes."""

    def __init__(self, source: Any, target: Any):
        _describe(source, target)
        self._decoder, self._target = source.codec_context, target

    def carry(self, packet: Any) -> Any:
        """Returns a packet for the output, or None where there is no text."""
        subtitles = self._decoder.decode2(packet)
        if subtitles is None or not len(subtitles):
            return None
        written = self._target.codec_context.encode_subtitle(subtitles)
        written.pts = written.dts = packet.pts
        written.duration, written.time_base = packet.duration, packet.time_base
        written.stream = self._target
        return written


def carried_stream(
    source: Any, container: Any, muxer: Muxer
) -> CopiedStream | WrittenSubtitles | None:
    """Adds a stream to the output that carries one of the input.

    Args:
        source: Stream of the input.
        container: The output, whose head is not yet written.
        muxer: How it is written.

    Returns:
        What carries its packets, or None if the container cannot hold the stream, whose codec may
        be unknown.
    """
    if source.codec_context is None:
        return None

    def add_copy(output: Any) -> Any:
        return output.add_stream_from_template(source)

    if (muxer.copies is None or codec_name(source) in muxer.copies) and muxer.accepts(add_copy):
        return CopiedStream(source, add_copy(container))
    if codec_name(source) not in _TEXT_SUBTITLES or muxer.copies is not None:
        return None
    for encoder in _TEXT_ENCODERS:
        add_text = _adder_of_text(source, encoder)
        if muxer.accepts(add_text):
            return WrittenSubtitles(source, add_text(container))
    return None


def _adder_of_text(source: Any, encoder: str) -> Callable[[Any], Any]:
    def add(output: Any) -> Any:
        source.codec_context.open(strict=False)  # the styles are known from here on
        stream = output.add_stream(encoder)
        stream.time_base = stream.codec_context.time_base = source.time_base
        stream.codec_context.subtitle_header = source.codec_context.subtitle_header
        return stream

    return add


def _describe(source: Any, target: Any) -> None:
    """Carries over language, title and flags such as "default" and "forced"."""
    target.metadata.update(source.metadata)
    target.disposition = int(source.disposition)
