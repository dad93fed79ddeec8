"""Processes that work for this one: they leave signals to it, and end with it."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Generator
from multiprocessing import resource_tracker

_STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def deaf_children() -> Generator[None]:
    """Has processes that start in the block, and threads, not hear SIGTERM and Ctrl-C, ever.

    A terminal or a cluster sends these to all processes of a group, while a run still needs its
    workers: it saves first, and ends them then. Children inherit what a thread holds back before
    they have run a line of code. This process itself receives signals at the end of the block.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Starting the tracker, which the first child would do, lets these signals through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(index: int, count: int) -> None:
    """Prepares a worker process of Grain; the arguments are its own."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """Starts a thread that ends this process when its parent is gone, even killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
