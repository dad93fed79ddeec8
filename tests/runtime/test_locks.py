"""Locks, between real processes where it matters that the system frees them."""

import os
import signal
import subprocess
import sys

import pytest

from armoe_jax.runtime.locks import InUseError, locked

HOLD = """
import sys, time
from armoe_jax.runtime.locks import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_one_is_refused_and_told_by_whom(tmp_path):
    path = tmp_path / "new" / ".lock"
    with locked(path):
        expected = rf"{path.parent} is in use by process {os.getpid()} on .*; wait until"
        with pytest.raises(InUseError, match=expected), locked(path):
            pass
        # The refusal has not freed it.
        with pytest.raises(InUseError), locked(path):
            pass
    assert not path.exists()
    with locked(path):
        pass


def test_a_killed_holder_leaves_it_free(tmp_path):
    path = tmp_path / ".lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "held\n"
    with pytest.raises(InUseError, match=f"process {process.pid} on"), locked(path):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.exists()
    with locked(path):
        pass
    assert not path.exists()


def test_where_the_system_cannot_lock_a_warning_says_so(tmp_path, monkeypatch, caplog):
    def refuse(*arguments):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("armoe_jax.runtime.locks.fcntl.flock", refuse)
    with caplog.at_level("WARNING", logger="absl"), locked(tmp_path / ".lock"):
        pass
    assert "cannot be locked" in caplog.text
