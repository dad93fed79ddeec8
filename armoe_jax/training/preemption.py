"""Notices that a run is asked to stop, so that it can save first."""

import signal
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preempted(BaseException):
    """The run was asked to stop; its state has been saved.

    Attributes:
        step: Step of the checkpoint.
        signal_number: The signal, for the exit status.
    """

    def __init__(self, step: int, signal_number: int):
        super().__init__(f"asked to stop by signal {signal_number}; saved at step {step}")
        self.step = step
        self.signal_number = signal_number


class PreemptionWatch:
    """Watches for SIGTERM and Ctrl-C while it is entered as a context manager.

    With several processes JAX's distributed runtime watches for SIGTERM itself, and makes all
    processes see it at the same step, whichever of them it was sent to.
    A second Ctrl-C stops at once, without saving.
    """

    def __init__(self):
        self.signal_number = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "PreemptionWatch":
        watched = _SIGNALS if jax.process_count() == 1 else ()
        for number in watched:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = number

    def requested(self, step: int) -> bool:
        """Returns whether to stop after this step; with several processes, the same on all."""
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            self.signal_number = signal.SIGTERM
        return bool(self.signal_number)
