"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import sys
import time

from absl import logging
from tqdm import tqdm

LOG_INTERVAL_SECONDS = 30.0


class Progress:
    """Counts what is finished; shows its rate and the time left.

    Args:
        total: How much there is; None or 0 if that is not known (yet).
        what: The work in a word or two, such as "restoring".
        unit: What is counted, one of them.
        initial: How much was done before, by an interrupted run.
        images_per_unit: For a rate in images, where something else is counted.
        enabled: False to show nothing, as on all processes but the first.
    """

    def __init__(
        self,
        total: int | None,
        what: str,
        unit: str = "image",
        *,
        initial: int = 0,
        images_per_unit: int | None = None,
        enabled: bool = True,
    ) -> None:
        self._total, self._what, self._unit = total, what, unit
        self._images_per_unit = images_per_unit
        self._enabled = enabled
        self._done = self._first = initial
        self._pixels = 0
        self._start = self._last_line = time.monotonic()
        self._bar = None
        if enabled and sys.stderr.isatty():
            self._bar = tqdm(
                desc=what,
                total=total,
                initial=initial,
                unit=unit,
                file=sys.stderr,
                dynamic_ncols=True,
            )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def restart_clock(self) -> None:
        """Leaves out of the rate what took its time until now, such as compilation."""
        self._start = self._last_line = time.monotonic()
        self._first, self._pixels = self._done, 0

    def set_total(self, total: int) -> None:
        """Sets how much there is, where that is known only after the beginning."""
        self._total = total
        if self._bar is not None:
            self._bar.reset(total)

    def advance(self, count: int = 1, note: str = "", *, pixels: int = 0) -> None:
        """Counts more as finished.

        Args:
            count: How many.
            note: What to show beside it, such as a loss.
            pixels: Height times width of what was finished, in sum; for a rate in megapixels.
        """
        self._done += count
        self._pixels += pixels
        if not self._enabled:
            return
        if self._bar is not None:
            shown = ", ".join(filter(None, [self._images(), self._megapixels(), note]))
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update(count)
            return
        now = time.monotonic()
        if now - self._last_line >= LOG_INTERVAL_SECONDS or self._done == self._total:
            self._last_line = now
            logging.info("%s", self._line(note))

    def _line(self, note: str) -> str:
        of, rate = f" of {self._total}" if self._total else "", self._rate()
        parts = [
            f"{self._what}: {self._done}{of} {self._unit}s",
            self._images() or f"{rate:.2f} {self._unit}s/s",
            self._megapixels(),
            f"{format_seconds((self._total - self._done) / rate)} left" if self._total else "",
            note,
        ]
        return ", ".join(filter(None, parts))

    def _rate(self) -> float:
        """Returns how many a second."""
        return max(self._done - self._first, 1) / self._elapsed()

    def _elapsed(self) -> float:
        return max(time.monotonic() - self._start, 1e-9)

    def _images(self) -> str:
        """Returns the rate in images, where something else is counted."""
        if self._images_per_unit is None:
            return ""
        return f"{self._rate() * self._images_per_unit:.1f} images/s"

    def _megapixels(self) -> str:
        """Returns the rate in megapixels, where pixels are counted."""
        return f"{self._pixels / 1e6 / self._elapsed():.3g} MP/s" if self._pixels else ""


def format_seconds(seconds: float) -> str:
    """Returns a duration as "1:02:03" or "2:03"."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
