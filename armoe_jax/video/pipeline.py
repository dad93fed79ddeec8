"""Three stages that run at the same time: a producing and a consuming thread around the caller."""

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any

_END = object()
_POLL_SECONDS = 0.1


class _Stopped(Exception):  # noqa: N818 (a signal between threads, not an error)
    """Another stage has failed or the run was interrupted."""


class _Channel:
    """A bounded queue whose waiting ends when the run is stopped."""

    def __init__(self, depth: int, stop: threading.Event):
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=depth)
        self._stop = stop

    def put(self, item: Any) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
        raise _Stopped

    def get(self) -> Any:
        while not self._stop.is_set():
            try:
                return self._queue.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
        raise _Stopped


def run_pipeline(
    produce: Iterable[Any],
    transform: Callable[[Any], Any],
    consume: Callable[[Any], None],
    *,
    depth: int,
) -> None:
    """Runs `consume(transform(item))` for each item, in order, each stage in a thread of its own.

    `transform` runs in the calling thread, where accelerators and keyboard interrupts live.

    Args:
        produce: Iterated in a thread.
        transform: Called with each item.
        consume: Called in another thread with each result.
        depth: Items waiting at most between two stages.

    Raises:
        Exception: The first error of any stage, after both threads have ended.
    """
    stop = threading.Event()
    errors: list[BaseException] = []
    before, after = _Channel(depth, stop), _Channel(depth, stop)

    def guarded(stage: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                stage()
            except _Stopped:
                return
            except BaseException as error:
                errors.append(error)
                stop.set()

        return run

    def feed() -> None:
        for item in produce:
            before.put(item)
        before.put(_END)

    def drain() -> None:
        while (item := after.get()) is not _END:
            consume(item)

    threads = [
        threading.Thread(target=guarded(stage), name=name, daemon=True)
        for stage, name in ((feed, "decode"), (drain, "encode"))
    ]
    for thread in threads:
        thread.start()
    try:
        while (item := before.get()) is not _END:
            after.put(transform(item))
        after.put(_END)
        threads[1].join()
    except _Stopped:
        pass
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
