"""A progress bar on a terminal, a line now and then in a log."""

import sys
import time
from typing import TextIO

from tqdm import tqdm

LOG_INTERVAL_SECONDS = 30.0


class Progress:
    """Shows how far a training run is, how fast, and how long it will still take.

    Args:
        total: Steps of the whole run.
        initial: Steps done before (by an interrupted run).
        images_per_step: Images of one step, for the rate.
        stream: Where to write; stderr by default.
        enabled: False on all processes but the first.
        interval: Seconds between two lines where the stream is no terminal.
    """

    def __init__(
        self,
        *,
        total: int,
        initial: int = 0,
        images_per_step: int,
        stream: TextIO | None = None,
        enabled: bool = True,
        interval: float = LOG_INTERVAL_SECONDS,
    ):
        self._stream = stream or sys.stderr
        self._total, self._images = total, images_per_step
        self._enabled = enabled
        self._interval = interval
        self._start = self._last_line = time.monotonic()
        self._start_step = initial
        self._bar = None
        if enabled and self._stream.isatty():
            self._bar = tqdm(
                total=total, initial=initial, unit="step", file=self._stream, dynamic_ncols=True
            )

    def __enter__(self) -> "Progress":
        return self

    def start(self) -> None:
        """Starts the clock anew, when preparations are done."""
        self._start = self._last_line = time.monotonic()

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, step: int, loss: float) -> None:
        """Shows that `step` steps are done, the last with this loss."""
        if not self._enabled:
            return
        rate = self._rate(step)
        if self._bar is not None:
            self._bar.set_postfix_str(
                f"loss {loss:.5f}, {rate * self._images:.1f} images/s", refresh=False
            )
            self._bar.update(step - self._bar.n)
            return
        now = time.monotonic()
        if now - self._last_line >= self._interval or step == self._total:
            self._last_line = now
            left = (self._total - step) / rate if rate else float("inf")
            self._stream.write(
                f"step {step}/{self._total}  loss {loss:.5f}  {rate * self._images:.1f} images/s  "
                f"{format_seconds(left)} left\n"
            )
            self._stream.flush()

    def _rate(self, step: int) -> float:
        """Returns steps a second since the start."""
        elapsed = time.monotonic() - self._start
        return (step - self._start_step) / elapsed if elapsed > 0 else 0.0


def format_seconds(seconds: float) -> str:
    """Returns a duration as "1:02:03" or "2:03"."""
    if seconds == float("inf"):
        return "?"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
