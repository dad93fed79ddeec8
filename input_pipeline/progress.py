"""Progress of long commands: a bar on a terminal, a line now and then in a log."""

import sys
import time
from types import TracebackType

from absl import logging
from tqdm import tqdm

LOG_INTERVAL_S = 10.0


class Progress:
    """Counts finished items; shows their rate and the time left.

    Args:
        total: Number of items.
        what: The task in a few words.
        unit: One item in one word.
    """

    def __init__(self, total: int, what: str, unit: str = "image") -> None:
        self._what, self._unit, self._total = what, unit, total
        self._done = 0
        self._start = self._last_line = time.monotonic()
        self._bar = (
            tqdm(total=total, desc=what, unit=unit, file=sys.stderr)
            if sys.stderr.isatty()
            else None
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def set_total(self, total: int) -> None:
        """Sets the number of items, where it is known only after the beginning."""
        self._total = total
        if self._bar is not None:
            self._bar.reset(total)

    def advance(self, count: int = 1) -> None:
        """Counts items as finished."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
            return
        now = time.monotonic()
        if now - self._last_line >= LOG_INTERVAL_S or self._done == self._total:
            self._last_line = now
            rate = self._done / max(now - self._start, 1e-9)
            left = (self._total - self._done) / rate
            logging.info(
                "%s: %d of %d %ss, %.2f %ss/s, %d s left",
                *(self._what, self._done, self._total, self._unit, rate, self._unit, left),
            )
