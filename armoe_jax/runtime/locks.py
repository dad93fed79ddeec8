"""Locks that two processes on one folder meet at."""

import contextlib
import os
import socket
from collections.abc import Generator
from pathlib import Path
from typing import TextIO

from absl import logging

try:
    import fcntl
except ImportError:  # Windows: two processes at once are not guarded against there
    fcntl = None


class InUseError(OSError):
    """Another process works there."""


@contextlib.contextmanager
def locked(path: str | Path, *, wait: bool = False) -> Generator[None]:
    """Holds a lock while the block runs; the system frees it when its holder ends, however.

    On network file systems it holds between machines as far as these carry `flock` over (NFS does
    since version 3 of Linux, Lustre if mounted with it); where there is no locking, a warning says
    so and the block runs.

    Args:
        path: File that stands for the lock; missing folders are made. It is removed at the end.
        wait: Wait for another holder instead of refusing.

    Raises:
        InUseError: Another process holds it; the message says which.
        OSError: The file cannot be made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _acquire(path, wait=wait)
    try:
        yield
    finally:
        # Removed while it is held: whoever has opened it meanwhile sees that it is gone.
        path.unlink(missing_ok=True)
        file.close()


def _acquire(path: Path, *, wait: bool) -> TextIO:
    while True:
        file = path.open("a+", encoding="utf-8")  # keeps what its holder wrote
        try:
            _lock(file, path, wait=wait)
            if _is_same(file, path):
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
                file.flush()
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(file: TextIO, path: Path, *, wait: bool) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise InUseError(
            f"{path.parent} is in use by {holder}; wait until it has ended, or use another folder"
        ) from None
    except OSError as error:
        logging.warning("%s cannot be locked (%s): run one process there at a time", path, error)


def _is_same(file: TextIO, path: Path) -> bool:
    """Tells whether the file is still the one under its name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
