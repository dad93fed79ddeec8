import multiprocessing
import os

import pytest

from armoe_jax.runtime.errors import UserError
from armoe_jax.runtime.fresh_process import run_in_fresh_process
from armoe_jax.training.sharding import check_batch, make_mesh


def test_the_process_is_another():
    assert run_in_fresh_process(os.getpid) != os.getpid()
    assert multiprocessing.active_children() == []


def test_what_it_raises_arrives():
    with pytest.raises(ValueError, match="invalid literal for int"):
        run_in_fresh_process(int, "x")


def test_bad_input_stays_the_users():
    with pytest.raises(UserError, match="cannot be divided over 1 devices"):
        run_in_fresh_process(refuse_a_batch)


def refuse_a_batch():
    check_batch(0, mesh=make_mesh(1))


def test_a_killed_process_is_told():
    with pytest.raises(ChildProcessError, match="not enough memory"):
        run_in_fresh_process(os.abort)
