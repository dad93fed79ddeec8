"""Runs the ffmpeg program that comes with imageio-ffmpeg, and says clearly what went wrong."""

import functools
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from input_pipeline.codecs.base import CodecError

TIMEOUT_S = 1800.0
"""Far above any single image; a program that hangs must not hold up a build for ever."""

_REMEDY = (
    "install imageio-ffmpeg for this platform or point IMAGEIO_FFMPEG_EXE to an ffmpeg program"
)


def executable() -> str:
    """Returns the path of the ffmpeg program.

    Raises:
        FileNotFoundError: If there is none.
    """
    try:
        # Here: only coding with a video codec needs it, training from images does not.
        import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]

        path = str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise FileNotFoundError(f"no ffmpeg program found: {_REMEDY}") from error
    if os.path.dirname(path) and not os.access(path, os.X_OK):
        raise FileNotFoundError(f"ffmpeg program {path} is absent or cannot be run: {_REMEDY}")
    return path


def run(arguments: Sequence[str], *, what: str, stdin: bytes = b"") -> bytes:
    """Runs ffmpeg and returns what it wrote to its standard output.

    Args:
        arguments: Of the command line, without the program.
        what: The task in words, for error messages.
        stdin: Bytes for its standard input.

    Raises:
        CodecError: If it fails; the message holds its last line on stderr.
        FileNotFoundError: If the program is absent.
    """
    command = [executable(), "-hide_banner", "-nostdin", "-loglevel", "error", *arguments]
    return run_program(command, what=what, stdin=stdin)


def run_program(command: Sequence[str], *, what: str, stdin: bytes = b"") -> bytes:
    """Runs a program and returns its standard output.

    Raises:
        CodecError: If it exits with another status than 0, or takes longer than `TIMEOUT_S`.
        FileNotFoundError: If the program is absent or not executable.
    """
    try:
        done = subprocess.run(
            list(command), input=stdin, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CodecError(f"{what}: {command[0]} took longer than {TIMEOUT_S:.0f} s") from error
    except (FileNotFoundError, PermissionError) as error:
        raise FileNotFoundError(f"{what}: program {command[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        raise CodecError(
            f"{what}: {Path(command[0]).name} ended with status {done.returncode}: "
            f"{_last_line(done.stderr)}"
        )
    return done.stdout


def _last_line(stderr: bytes) -> str:
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "(nothing on stderr)"


@functools.lru_cache(maxsize=8)
def _version_of(path: str) -> str:
    first_line = run_program([path, "-version"], what="asking ffmpeg for its version").decode()
    return " ".join(first_line.splitlines()[0].split()[:3])


def version() -> str:
    """Returns the program's name and version, such as "ffmpeg version n8.0"."""
    return _version_of(executable())


@functools.lru_cache(maxsize=8)
def _encoders_of(path: str) -> frozenset[str]:
    listing = run_program([path, "-hide_banner", "-encoders"], what="asking ffmpeg for encoders")
    rows = [line.split() for line in listing.decode(errors="replace").splitlines()]
    return frozenset(row[1] for row in rows if len(row) > 1)


def require_encoder(name: str) -> None:
    """Checks that the program was built with an encoder.

    Raises:
        FileNotFoundError: If it was not; the message names a way out.
    """
    path = executable()
    if name not in _encoders_of(path):
        raise FileNotFoundError(
            f"ffmpeg program {path} has no encoder {name}; point IMAGEIO_FFMPEG_EXE to one that "
            "has, or choose another codec (every wheel of imageio-ffmpeg has libx264 and libx265)"
        )


def run_with_output_file(
    arguments: Sequence[str], *, suffix: str, what: str, stdin: bytes = b""
) -> bytes:
    """Like `run`, but ffmpeg writes to a file, whose contents are returned."""
    with tempfile.TemporaryDirectory(prefix="armoe-") as folder:
        path = Path(folder) / f"output{suffix}"
        run([*arguments, "-y", str(path)], what=what, stdin=stdin)
        return path.read_bytes()


def run_with_input_file(arguments: Sequence[str], data: bytes, *, suffix: str, what: str) -> bytes:
    """Like `run`, with `data` in a file as the input (`-i`), written to standard output."""
    with tempfile.TemporaryDirectory(prefix="armoe-") as folder:
        path = Path(folder) / f"input{suffix}"
        path.write_bytes(data)
        return run(["-i", str(path), *arguments], what=what)
