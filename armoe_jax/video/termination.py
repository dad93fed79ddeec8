"""Ending on SIGTERM as on an error: nothing half written stays."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

_KILLED = 128 + signal.SIGTERM


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
