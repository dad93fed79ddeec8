"""What ended runs leave."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest
from clips import keep

from armoe_jax.video import is_video, restore_video
from armoe_jax.video.termination import exit_when_terminated

WAIT_SECONDS = 1800  # a bound for a process that would hang if something were wrong

PAUSED_RUN = """
    import sys, time
    from armoe_jax.video import VideoOptions, files
    def load(video):
        def slow(image, seen=[]):
            seen.append(image)
            if len(seen) == 6:
                print("restoring", flush=True)
                time.sleep(600)
            return image
        return slow
    from pathlib import Path
    files.restore_files([Path({src!r})], [Path({dst!r})], load, options=VideoOptions(),
                        overwrite=False, report=print)
"""


def killed_run(src, dst, number):
    """Starts restoring, sends a signal in the last frame; returns the exit status."""
    script = textwrap.dedent(PAUSED_RUN.format(src=str(src), dst=str(dst)))
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "restoring\n"
        deadline = time.monotonic() + WAIT_SECONDS
        while not list(dst.parent.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(number)
        return child.wait(timeout=WAIT_SECONDS)
    finally:
        child.kill()
        child.communicate()


def test_terminated_run_leaves_nothing(clip, tmp_path):
    assert killed_run(clip, tmp_path / "out.mkv", signal.SIGTERM) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_run_go_with_the_next(clip, tmp_path):
    assert killed_run(clip, tmp_path / "out.mkv", signal.SIGKILL) == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert not is_video(left)
    restore_video(clip, tmp_path / "out.mkv", keep, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]


def test_the_handler_before_is_restored():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop, exit_when_terminated():
        signal.raise_signal(signal.SIGTERM)
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
