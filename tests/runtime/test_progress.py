"""Lines of progress in a log, and the bar on a terminal."""

import io
import re
import sys

import pytest
from absl import logging

from armoe_jax.runtime import progress
from armoe_jax.runtime.progress import Progress, format_seconds


@pytest.fixture
def clock(monkeypatch):
    """Seconds, to be set by hand."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def lines(monkeypatch):
    logged = []
    monkeypatch.setattr(logging, "info", lambda text, *args: logged.append(text % args))
    return logged


def test_a_line_now_and_then_and_a_last_one(clock, lines):
    with Progress(40, "restoring") as shown:
        for _ in range(40):
            clock[0] += 2
            shown.advance()
    # Every 30 seconds; 15 images in 30 seconds are one in 2, and 25 are left.
    assert lines == [
        "restoring: 15 of 40 images, 0.50 images/s, 0:50 left",
        "restoring: 30 of 40 images, 0.50 images/s, 0:20 left",
        "restoring: 40 of 40 images, 0.50 images/s, 0:00 left",
    ]


def test_training_counts_steps_from_where_it_was_and_shows_images(clock, lines):
    shown = Progress(100, "training", "step", initial=90, images_per_unit=8)
    clock[0] += 1000  # compilation
    shown.restart_clock()
    clock[0] += 40
    shown.advance(4, note="loss 0.5")
    # 4 steps in 40 seconds, of 8 images each; 6 steps are left.
    assert lines == ["training: 94 of 100 steps, 0.8 images/s, 1:00 left, loss 0.5"]


def test_rate_in_megapixels(clock, lines):
    shown = Progress(4, "restoring")
    clock[0] += 1000  # compilation
    shown.advance(pixels=99_000_000)
    shown.restart_clock()
    clock[0] += 40
    shown.advance(2, pixels=5_000_000)
    assert lines[-1] == "restoring: 3 of 4 images, 0.05 images/s, 0.125 MP/s, 0:20 left"


def test_total_that_is_not_known_at_first(clock, lines):
    shown = Progress(None, "coding", "frame")
    clock[0] += 30
    shown.advance(3)
    shown.set_total(6)
    clock[0] += 30
    shown.advance(3)
    assert lines == [
        "coding: 3 frames, 0.10 frames/s",
        "coding: 6 of 6 frames, 0.10 frames/s, 0:00 left",
    ]


def test_nothing_is_shown_where_it_is_not_wanted(clock, lines):
    shown = Progress(1, "training", enabled=False)
    clock[0] += 100
    shown.advance()
    assert lines == []


def test_bar_on_a_terminal(monkeypatch, lines):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(2, "training", "step", images_per_unit=8) as shown:
        shown.advance(2, note="loss 0.5", pixels=10)
    assert "training: 100%" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()
    assert re.search(r"[0-9] images/s, [0-9.e+-]+ MP/s, loss 0.5", terminal.getvalue())
    assert lines == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3599.0, "59:59"), (3723.0, "1:02:03")]
)
def test_format_seconds(seconds, text):
    assert format_seconds(seconds) == text
