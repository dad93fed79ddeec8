"""The compiled, sharded, donated step on eight virtual devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_state import make_meta, shapes_of
from small_steps import (
    EXPERTS,
    compile_step,
    make_model,
    make_options,
    make_state,
    make_variables,
)

import configs
from armoe_jax.models import build_model
from armoe_jax.training import sharding
from armoe_jax.training import state as train_state
from armoe_jax.training.checkpointer import Checkpointer, SavePlan
from armoe_jax.training.step import make_gradients, make_train_step, metrics_shapes

BATCH, SIZE = 16, 8
MODEL = make_model()


def options(accumulation_steps=1):
    return make_options(load_balancing_weight=0.01, accumulation_steps=accumulation_steps)


@pytest.fixture(scope="module")
def variables():
    return make_variables(MODEL)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    gt = rng.uniform(size=(BATCH, SIZE, SIZE, 3)).astype(np.float32)
    return {"lq": np.clip(gt + 0.1, 0, 1).astype(np.float32), "gt": gt}


@pytest.fixture(scope="module")
def compiled(variables, batch):
    """Step function, options and mesh of the plain configuration."""
    opts, mesh = options(), sharding.make_mesh()
    step = compile_step(MODEL, opts, mesh, make_state(variables, opts, mesh), batch)
    return step, opts, mesh


def take(compiled, variables, *batches):
    step, opts, mesh = compiled
    state = make_state(variables, opts, mesh)
    for piece in batches:
        state, info = step(state, sharding.place_batch(piece, mesh))
    return state, info


def same(a, b):
    return all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_first_step_moves_every_parameter_by_at_most_the_rate(compiled, variables, batch):
    state, info = take(compiled, variables, batch)
    assert np.isfinite(info.loss)
    moved = jax.tree.map(lambda n, o: np.abs(n - o).max(), state.params, variables["params"])
    # Adam's first update is g / (|g| + eps): at most the learning rate 1e-3.
    assert max(jax.tree.leaves(moved)) == pytest.approx(1e-3, rel=1e-3)
    assert int(state.step) == 1
    # Decay 1 / 10 at the first step: 0.1 * old + 0.9 * new.
    path = "conv_first", "kernel"
    old, new, average = (
        tree[path[0]][path[1]] for tree in (variables["params"], state.params, state.ema["params"])
    )
    np.testing.assert_allclose(average, 0.1 * old + 0.9 * np.asarray(new), atol=1e-7)


def test_running_statistics_follow_the_batch(compiled, variables, batch):
    state, _ = take(compiled, variables, batch)
    assert not same(state.batch_stats, variables["batch_stats"])
    assert not same(state.ema["batch_stats"], variables["batch_stats"])


def test_donated_state_is_gone(compiled, variables, batch):
    step, opts, mesh = compiled
    state = make_state(variables, opts, mesh)
    step(state, sharding.place_batch(batch, mesh))
    with pytest.raises(RuntimeError, match="deleted"):
        np.asarray(state.params["conv_first"]["kernel"])


def test_metrics_count_every_image_once_per_layer(compiled, variables, batch):
    state, _ = take(compiled, variables, batch, batch)
    values = jax.device_get(state.metrics).compute()
    assert values["expert_counts"].shape == (1, len(EXPERTS))
    assert values["expert_counts"].sum() == 2 * BATCH
    assert values["skipped"] == 0
    assert values["dropped"].shape == (1,)
    assert values["learning_rate"] == pytest.approx(1e-3)
    expected = float(values["pixel_loss"] + 0.01 * values["load_balancing_loss"])
    assert values["loss"] == pytest.approx(expected, rel=1e-5)
    assert values["grad_norm"] > 0


def test_noise_differs_between_steps_but_not_between_runs(compiled, variables, batch):
    step, opts, mesh = compiled
    losses_seen = []
    for start in (0, 1, 0):
        state = make_state(variables, opts, mesh)
        state = state.replace(step=sharding.place(np.int32(start), sharding.replicated(mesh)))
        _, info = step(state, sharding.place_batch(batch, mesh))
        losses_seen.append(float(info.loss))
    assert losses_seen[0] == losses_seen[2] != losses_seen[1]


def test_resuming_goes_on_as_if_nothing_had_happened(compiled, variables, batch, tmp_path):
    step, _, mesh = compiled
    state, _ = take(compiled, variables, batch)
    with Checkpointer(tmp_path, SavePlan(every=1, num_steps=9)) as checkpointer:
        checkpointer.save(state, make_meta())
        checkpointer.wait()
        resumed, _ = checkpointer.restore(shapes_of(state))
    placed = sharding.place_batch(batch, mesh)
    assert same(step(resumed, placed), step(state, placed))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_step_that_is_not_finite_changes_nothing_but_counters(compiled, variables, batch, bad):
    step, _, mesh = compiled
    state, _ = take(compiled, variables, batch)
    before = jax.device_get(state)
    broken = dict(batch, gt=batch["gt"].copy())
    broken["gt"][0, 0, 0, 0] = bad
    if bad == 1e30:  # finite, but the gradient of the input side is not
        broken["lq"] = batch["lq"] * np.float32(1e30)
    state, info = step(state, sharding.place_batch(broken, mesh))
    for name in ("params", "batch_stats", "opt_state", "ema"):
        assert same(getattr(state, name), getattr(before, name)), name
    assert int(state.step) == int(before.step) + 1
    assert int(info.skipped_in_a_row) == int(state.skipped_in_a_row) == 1
    values = jax.device_get(state.metrics).compute()
    assert values["skipped"] == 1
    assert np.isfinite(values["loss"])
    # The next good step ends the streak.
    state, info = step(state, sharding.place_batch(batch, mesh))
    assert int(info.skipped_in_a_row) == 0
    assert not same(state.params, before.params)


def test_an_update_that_is_not_finite_is_skipped_too(batch):
    """Loss and gradients are finite; the optimiser divides 0 by 0 for one parameter."""

    def break_one(updates, params):
        first = updates["conv_first"] | {"bias": updates["conv_first"]["bias"] * 0.0 / 0.0}
        return updates | {"conv_first": first}

    model = make_model(experts=())
    variables = make_variables(model)
    opts, mesh = make_options(optimizer=optax.stateless(break_one)), sharding.make_mesh(1)
    state = make_state(variables, opts, mesh, experts=())
    small = sharding.place_batch({name: images[:2] for name, images in batch.items()}, mesh)
    state, info = compile_step(model, opts, mesh, state, small)(state, small)
    assert np.isfinite(info.loss)
    assert int(info.skipped_in_a_row) == 1
    assert same(state.params, variables["params"])
    assert same(state.ema["params"], variables["params"])


def test_skipped_steps_use_up_the_schedule_but_not_adams_count(compiled, variables, batch):
    step, opts, mesh = compiled
    last = configs.load("configs/base.py").optim.milestones[0] - 1
    state = make_state(variables, opts, mesh)
    state = state.replace(step=sharding.place(np.int32(last), sharding.replicated(mesh)))
    broken = dict(batch, gt=batch["gt"] * np.float32(np.nan))
    state, _ = step(state, sharding.place_batch(broken, mesh))
    # The last step before the first milestone was skipped: the next one has half the rate 1e-3.
    state, _ = step(state, sharding.place_batch(batch, mesh))
    assert float(state.metrics.learning_rate.value) == pytest.approx(5e-4)
    assert int(state.opt_state[1].count) == 1


def test_accumulated_gradients_are_the_mean_over_strided_micro_batches(variables, batch):
    mesh = sharding.make_mesh(1)
    noise = np.random.default_rng(1).gumbel(size=(1, BATCH, len(EXPERTS))).astype(np.float32)
    state = make_state(variables, options(), mesh)
    halves = [({k: v[i::2] for k, v in batch.items()}, noise[:, i::2]) for i in range(2)]

    whole = jax.jit(make_gradients(MODEL, options(accumulation_steps=2)))(state, batch, noise)
    single = jax.jit(make_gradients(MODEL, options()))
    halves = [single(state, *half) for half in halves]
    expected = jax.tree.map(lambda a, b: (a + b) / 2, *halves)
    for got, want in zip(jax.tree.leaves(whole), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6 + 1e-5 * np.abs(want).max())


def test_without_experts_there_are_no_statistics(batch):
    model = build_model(dict(MODEL.config.to_dict(), experts=(), depth=(1,)))
    opts = options()
    image = jnp.zeros((1, 8, 8, 3))
    variables = jax.eval_shape(lambda: dict(model.init(jax.random.key(0), image)))
    state = jax.eval_shape(
        lambda v: train_state.create(v, opts.optimizer, ema=True, metrics=metrics_shapes(1, 0)),
        variables,
    )
    assert state.batch_stats == {}
    after, info = jax.eval_shape(make_train_step(model, opts), state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert info.loss.shape == ()
    assert after.metrics.expert_counts.total.shape == (1, 0)
