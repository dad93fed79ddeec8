"""The loop's order of events, with a step function of one line instead of a network."""

import itertools
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_state import make_meta, make_state

from armoe_jax.runtime.progress import Progress
from armoe_jax.training import sharding
from armoe_jax.training.checkpointer import Checkpointer, SavePlan
from armoe_jax.training.loop import LoopPlan, NonFiniteError, TrainLoop
from armoe_jax.training.metric_writer import MultiWriter
from armoe_jax.training.preemption import Preempted, PreemptionWatch
from armoe_jax.training.profiling import TraceWindow
from armoe_jax.training.step import StepInfo
from armoe_jax.training.validation import ValidationStopped

EXPERTS = ("dct", "fft", "haar", "swt")


class Recorder:
    """A writer that remembers."""

    def __init__(self):
        self.scalars, self.images = [], []

    def write_scalars(self, step, scalars):
        self.scalars.append((step, dict(scalars)))

    def write_images(self, step, images):
        self.images.extend((step, name) for name in images)

    def write_hparams(self, hparams):
        pass

    def flush(self):
        pass

    def close(self):
        pass


def make_step(bad=()):
    """Returns a step that adds 1 to every parameter, and is not finite at the given steps."""
    bad_steps = jnp.asarray([-1, *bad])

    @jax.jit
    def step_fn(state, batch):
        good = ~jnp.any(bad_steps == state.step)
        loss = jnp.where(good, batch["lq"].mean(), jnp.nan)
        streak = jnp.where(good, 0, state.skipped_in_a_row + 1).astype(jnp.int32)
        params = jax.tree.map(lambda p: p + good, state.params)
        skipped = state.metrics.skipped.replace(total=state.metrics.skipped.total + ~good)
        state = state.replace(
            step=state.step + 1,
            params=params,
            skipped_in_a_row=streak,
            metrics=state.metrics.replace(skipped=skipped),
        )
        return state, StepInfo(loss, streak)

    return step_fn


def gradients_fn(state, batch):
    """The gradient of "b" is not finite."""
    return {"a": {"kernel": jnp.zeros(3)}, "b": jnp.array([0.0, jnp.nan])}


class FakeValidator:
    def __init__(self, stop_at=None):
        self.calls, self.stop_at = 0, stop_at

    def __call__(self, variables, *, should_stop):
        self.calls += 1
        if should_stop():
            raise ValidationStopped
        assert set(variables) == {"params", "batch_stats"}
        psnr = 30.0 + self.calls
        return {"psnr_y": psnr, "ssim_y": 0.9, "lq_psnr_y": 29.0, "lq_ssim_y": 0.8}, []


@pytest.fixture
def make_loop(tmp_path):
    """Returns a function that makes a loop, its recorder and its validator."""
    opened = []

    def make(num_steps=6, *, step_fn=None, eval_every=4, every=2, first_step=0, trace=0, limit=3):
        recorder, validator = Recorder(), FakeValidator()
        checkpointer = Checkpointer(tmp_path, SavePlan(every=every, num_steps=num_steps, keep=9))
        watch = PreemptionWatch()
        window = TraceWindow(tmp_path, first_step=first_step, num_steps=trace)
        for manager in (checkpointer, watch, window):
            manager.__enter__()
            opened.append(manager)
        loop = TrainLoop(
            plan=LoopPlan(
                num_steps=num_steps,
                batch_size=8,
                log_every=3,
                eval_every=eval_every,
                max_skipped_in_a_row=limit,
                experts=EXPERTS,
            ),
            mesh=sharding.make_mesh(),
            step_fn=step_fn or make_step(),
            gradients_fn=gradients_fn,
            checkpointer=checkpointer,
            describe=lambda step, validated: make_meta(validated=validated),
            writer=MultiWriter([recorder]),
            progress=Progress(num_steps, "training", "step", enabled=False),
            watch=watch,
            trace=window,
            prepare=lambda batch: {"lq": batch["lq"], "gt": batch["gt"]},
            validator=validator,
        )
        return loop, recorder, validator

    yield make
    for manager in reversed(opened):
        manager.__exit__(None, None, None)


def batches():
    images = np.full((8, 2, 2, 3), 0.5, np.float32)
    return itertools.repeat({"lq": images, "gt": images, "qp": np.zeros(8, np.int32)})


def saved_steps(tmp_path):
    return sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())


def test_logs_validates_and_saves_when_due(make_loop, tmp_path):
    loop, recorder, _ = make_loop()
    state = loop.run(make_state(), batches(), validated=True)
    assert int(state.step) == 6
    logged = [(step, "loss" in scalars) for step, scalars in recorder.scalars]
    # Metrics after 3 and 6 steps, validation after 4 and after the last.
    assert logged == [(3, True), (4, False), (6, True), (6, False)]
    assert dict(recorder.scalars)[4] == {
        "eval/psnr_y": 31.0,
        "eval/ssim_y": 0.9,
        "eval/lq_psnr_y": 29.0,
        "eval/lq_ssim_y": 0.8,
    }
    assert (3, "expert_usage") in recorder.images
    assert saved_steps(tmp_path) == [2, 4, 6]


def test_a_request_to_stop_saves_and_ends_the_run(make_loop, tmp_path):
    loop, *_ = make_loop(every=100, eval_every=0)

    def stopping():
        for i, batch in enumerate(batches()):
            if i == 2:
                signal.raise_signal(signal.SIGTERM)
            yield batch

    with pytest.raises(Preempted, match="asked to stop by signal 15; saved at step 3"):
        loop.run(make_state(), stopping(), validated=True)
    assert saved_steps(tmp_path) == [3]


def test_a_stop_during_validation_leaves_it_for_later(make_loop, tmp_path):
    loop, recorder, validator = make_loop(every=100, eval_every=2)

    def stopping():
        for i, batch in enumerate(batches()):
            if i == 1:
                signal.raise_signal(signal.SIGTERM)
            yield batch

    with pytest.raises(Preempted):
        loop.run(make_state(), stopping(), validated=True)
    assert validator.calls == 1
    assert recorder.scalars == []
    with Checkpointer(tmp_path, SavePlan(every=1, num_steps=9)) as checkpointer:
        state, meta = checkpointer.restore(shapes(make_state()))
    assert int(state.step) == 2
    assert meta["validated"] is False
    # Continuing validates first, and adds to the checkpoint.
    loop, recorder, _ = make_loop(num_steps=3, every=100, eval_every=2)
    loop.run(state, batches(), validated=meta["validated"])
    assert [step for step, scalars in recorder.scalars if "eval/psnr_y" in scalars] == [2, 3]
    assert saved_steps(tmp_path) == [2, 3]


def test_a_failing_validation_comes_after_the_save(make_loop, tmp_path):
    loop, *_ = make_loop(every=100, eval_every=2)

    def fail(variables, *, should_stop):
        raise ValueError("image7: cannot be read")

    loop.validator = fail
    with pytest.raises(ValueError, match="image7"):
        loop.run(make_state(), batches(), validated=True)
    loop.checkpointer.wait()
    assert saved_steps(tmp_path) == [2]


def shapes(state):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


def test_single_bad_steps_are_skipped_and_counted(make_loop):
    loop, recorder, _ = make_loop(step_fn=make_step(bad=(1, 3)), eval_every=0)
    state = loop.run(make_state(), batches(), validated=True)
    # Six steps, two of them skipped.
    np.testing.assert_allclose(state.params["b"] - make_state().params["b"], 4.0, atol=1e-5)
    counts = [s["skipped_steps"] for _, s in recorder.scalars if "skipped_steps" in s]
    assert counts == [1, 1]


def test_many_bad_steps_in_a_row_stop_the_run_and_say_where(make_loop):
    loop, *_ = make_loop(num_steps=50, step_fn=make_step(bad=range(4, 50)), limit=5)
    message = r"5 steps in a row, up to step 9, .* 1 of 2 parameters were not finite \(b\)"
    with pytest.raises(NonFiniteError, match=message):
        loop.run(make_state(), batches(), validated=True)


def test_bad_steps_at_the_very_end_stop_the_run_too(make_loop):
    loop, *_ = make_loop(num_steps=6, step_fn=make_step(bad=(4, 5)), limit=2)
    with pytest.raises(NonFiniteError, match="up to step 6"):
        loop.run(make_state(), batches(), validated=True)


def test_chosen_steps_are_traced(make_loop, tmp_path):
    loop, *_ = make_loop(first_step=1, trace=2, eval_every=0)
    loop.run(make_state(), batches(), validated=True)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


@pytest.mark.parametrize("field", ["num_steps", "log_every", "max_skipped_in_a_row"])
def test_plans_refuse_zero(field):
    values = {
        "num_steps": 1,
        "batch_size": 1,
        "log_every": 1,
        "eval_every": 0,
        "max_skipped_in_a_row": 1,
        "experts": (),
    }
    with pytest.raises(ValueError, match=f"{field} is 0"):
        LoopPlan(**values | {field: 0})


def test_validation_is_due_at_intervals_and_at_the_end():
    plan = LoopPlan(
        num_steps=10,
        batch_size=1,
        log_every=1,
        eval_every=4,
        max_skipped_in_a_row=1,
        experts=(),
    )
    assert [step for step in range(11) if plan.validates(step)] == [4, 8, 10]
