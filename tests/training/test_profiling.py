"""The window of steps that is traced, and what is said of a compiled step."""

import contextlib
import logging
import types

import jax
import jax.numpy as jnp
import pytest

from armoe_jax.training.profiling import TraceWindow, compile_and_report, describe_memory


@pytest.fixture
def calls(monkeypatch):
    """What the profiler is told, in order."""
    told = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: told.append(("start", folder)))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: told.append("stop"))
    return told


def run(window, steps, calls):
    for step in steps:
        window.before_step(step)
        calls.append(step)
        window.after_step(step, jnp.zeros(()))


def test_the_chosen_steps_are_traced(tmp_path, calls):
    with TraceWindow(tmp_path, first_step=2, num_steps=2) as window:
        run(window, range(6), calls)
    assert calls == [0, 1, ("start", tmp_path / "profile"), 2, 3, "stop", 4, 5]


def test_a_run_that_is_resumed_within_the_window_is_traced_from_there(tmp_path, calls):
    with TraceWindow(tmp_path, first_step=2, num_steps=3) as window:
        run(window, range(4, 6), calls)
    assert calls == [("start", tmp_path / "profile"), 4, "stop", 5]


def test_a_run_that_ends_within_the_window_closes_its_trace(tmp_path, calls):
    with (
        contextlib.suppress(ValueError),
        TraceWindow(tmp_path, first_step=0, num_steps=9) as window,
    ):
        window.before_step(0)
        raise ValueError
    assert calls == [("start", tmp_path / "profile"), "stop"]


def test_no_steps_no_trace(tmp_path, calls):
    with TraceWindow(tmp_path, first_step=0, num_steps=0) as window:
        run(window, range(2), calls)
    assert calls == [0, 1]


@pytest.mark.parametrize("wrong", [{"first_step": -1}, {"num_steps": -1}])
def test_negative_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="both must be 0 or more"):
        TraceWindow(tmp_path, **{"first_step": 0, "num_steps": 1} | wrong)


def test_memory_is_told_in_mebibytes():
    analysis = types.SimpleNamespace(
        argument_size_in_bytes=3 * 2**20,
        temp_size_in_bytes=2**19,
        output_size_in_bytes=5 * 2**20,
        alias_size_in_bytes=4 * 2**20,
        generated_code_size_in_bytes=0,
    )
    compiled = types.SimpleNamespace(memory_analysis=lambda: analysis)
    assert describe_memory(compiled) == (
        "memory of one device in MiB: arguments 3.0, temporary 0.5, output 1.0, program 0.0"
    )
    silent = types.SimpleNamespace(memory_analysis=lambda: None)
    assert describe_memory(silent) == "no memory analysis on this platform"


def test_compiling_is_reported(caplog):
    lowered = jax.jit(lambda x: x + 1).lower(jnp.zeros(2**18))
    with caplog.at_level(logging.INFO, logger="absl"):
        compiled = compile_and_report(lowered.compile)
    assert compiled(jnp.ones(2**18))[0] == 2
    # 2^18 float32 are 1 MiB.
    assert "compiled the training step in" in caplog.text
    assert "arguments 1.0" in caplog.text
