"""Output containers: FFmpeg's muxer for a file name, and what it can hold."""

import contextlib
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from armoe_jax.video.options import BITSTREAM_FORMATS, default_encoder
from armoe_jax.video.pyav import open_container

_NAMES = {
    ".m2ts": "mpegts",
    ".m4v": "mp4",
    ".mkv": "matroska",
    ".mpg": "mpeg",
    ".mts": "mpegts",
    ".ogv": "ogg",
    ".ts": "mpegts",
    ".wmv": "asf",
    **BITSTREAM_FORMATS,
}

# Sound often begins a little before zero (priming samples of AAC and Opus). Matroska can hold that;
# without this the whole file, pictures included, would be shifted by it.
_FROM_BELOW_ZERO = {"avoid_negative_ts": "disabled"}
_BLU_RAY = {"mpegts_m2ts_mode": "1"}
_OPTIONS = {
    ".m2ts": _BLU_RAY,
    ".mkv": _FROM_BELOW_ZERO,
    ".mts": _BLU_RAY,
    ".webm": _FROM_BELOW_ZERO,
}

# What these muxers take beyond this, nothing can read, or they fail at the end.
_IN_MPEG = frozenset({"ac3", "dts", "mp1", "mp2", "mp3"})
_IN_PS = _IN_MPEG | {"dvd_subtitle", "pcm_dvd"}
_IN_TS = _IN_MPEG | {"aac", "aac_latm", "dvb_subtitle", "dvb_teletext", "eac3", "opus", "s302m"}
_ON_BLU_RAY = _IN_TS | {"hdmv_pgs_subtitle", "pcm_bluray", "truehd"}
_COPIES = {
    ".m2ts": _ON_BLU_RAY,
    ".mpeg": _IN_PS,
    ".mpg": _IN_PS,
    ".mts": _ON_BLU_RAY,
    ".mxf": frozenset(),  # sound would have to be cut anew, in pieces as long as a picture
    ".ts": _IN_TS,
}
_CONSTANT_RATE = frozenset({"avi", "mpeg", "mxf", "ogg"})


@dataclasses.dataclass(frozen=True)
class Muxer:
    """How a file is written.

    Attributes:
        suffix: Of the file, with its point.
        name: FFmpeg's name of the muxer.
        constant_rate: Whether it is written with one frame in each place of a regular grid, in the
            order in which they are shown, because players would guess their times otherwise.
        gaps: Whether places may stay empty then.
        copies: Names of the codecs that it can carry over, or None if it knows them itself.
    """

    suffix: str
    name: str
    constant_rate: bool = False
    gaps: bool = True
    copies: frozenset[str] | None = None

    def open(self, target: str | io.BytesIO) -> Any:
        """Returns a PyAV container for writing."""
        return open_container(target, "w", format=self.name, options=_OPTIONS.get(self.suffix, {}))

    def accepts(self, add_stream: Callable[[Any], Any]) -> bool:
        """Says whether a container can hold a stream, by writing the head of a scratch file.

        Args:
            add_stream: Given a container for writing, adds the stream to it.
        """
        with contextlib.closing(self.open(io.BytesIO())) as trial:
            # Some containers begin with a picture stream.
            video = trial.add_stream(default_encoder(self.suffix), rate=25)
            video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
            try:
                add_stream(trial)
                trial.start_encoding()
            except (FFmpegError, ValueError):
                return False
        return True


def muxer_of(path: Path) -> Muxer:
    """Returns the muxer for a file's suffix.

    Raises:
        ValueError: If there is none.
    """
    suffix = path.suffix.lower()
    name = _NAMES.get(suffix, suffix[1:])
    if name not in av.formats_available:
        raise ValueError(f"{path}: no container is known by {path.suffix!r}; e.g. .mkv or .mp4")
    return Muxer(
        suffix,
        name,
        constant_rate=name in _CONSTANT_RATE,
        gaps=name != "mxf",
        copies=_COPIES.get(suffix),
    )
