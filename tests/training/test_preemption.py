"""Requests to stop, by real signals to this process."""

import contextlib
import signal

import jax
import pytest
from jax.experimental import multihost_utils

from armoe_jax.training.preemption import Preempted, PreemptionWatch


def test_the_exception_tells_step_and_signal():
    error = Preempted(step=7, signal_number=15)
    assert (error.step, error.signal_number) == (7, 15)
    assert str(error) == "asked to stop by signal 15; saved at step 7"
    # What catches errors of a step must not swallow it.
    assert not isinstance(error, Exception)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_run_goes_on(number):
    with PreemptionWatch() as watch:
        assert not watch.requested(3)
        signal.raise_signal(number)
        assert watch.requested(3)
        assert watch.signal_number == number


def test_a_second_interrupt_stops_at_once():
    with PreemptionWatch() as watch:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # waits for the save all the same
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert watch.signal_number == signal.SIGTERM


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with contextlib.suppress(ValueError), PreemptionWatch():
        assert signal.getsignal(signal.SIGTERM) != before[0]
        raise ValueError
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_several_processes_leave_the_signal_to_jax(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", lambda step: step == 5)
    before = signal.getsignal(signal.SIGTERM)
    with PreemptionWatch() as watch:
        assert signal.getsignal(signal.SIGTERM) == before
        assert [watch.requested(step) for step in (4, 5, 6)] == [False, True, True]
        assert watch.signal_number == signal.SIGTERM
