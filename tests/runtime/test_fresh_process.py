import multiprocessing
import os

import pytest

from armoe_jax.runtime.fresh_process import run_in_fresh_process


def test_the_process_is_another():
    assert run_in_fresh_process(os.getpid) != os.getpid()
    assert multiprocessing.active_children() == []


def test_what_it_raises_arrives():
    with pytest.raises(ValueError, match="invalid literal for int"):
        run_in_fresh_process(int, "x")


def test_a_killed_process_is_told():
    with pytest.raises(ChildProcessError, match="not enough memory"):
        run_in_fresh_process(os.abort)
