"""Files that are being written: their names, and clearing away what a killed run left."""

import contextlib
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

_HOST = re.sub(r"[^\w-]", "", socket.gethostname())
_KILLED = 128 + signal.SIGTERM


def unfinished_path(path: Path) -> Path:
    """Returns the name under which this process writes a file until it is complete.

    It has no suffix that a player or a command of ours takes for a video.
    """
    return path.with_name(f"{path.name}.{_HOST}-{os.getpid()}.part")


def remove_leftovers(path: Path) -> None:
    """Removes unfinished versions of a file whose processes, on this machine, no longer run."""
    name = re.compile(rf"{re.escape(path.name)}\.{re.escape(_HOST)}-(\d+)\.part")
    for neighbour in path.parent.iterdir():
        match = name.fullmatch(neighbour.name)
        if match and not _runs(int(match[1])):
            neighbour.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    if pid == os.getpid():
        return False  # a name of ours from before: process numbers come round
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


@contextlib.contextmanager
def exit_when_terminated() -> Iterator[None]:
    """Lets SIGTERM unwind the stack, so that unfinished files are removed, and exit with 143.

    In threads other than the main one, where no handler can be set, it changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(_KILLED)

    before: Any = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
