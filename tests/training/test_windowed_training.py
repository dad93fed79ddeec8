"""Training of ARMoE-W: capacity, devices, FSDP, micro-batches and quantiser steps."""

import dataclasses

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from small_state import make_meta, shapes_of
from small_steps import make_options

from armoe_jax.models import build_model
from armoe_jax.models.stacking import stack_blocks
from armoe_jax.training import sharding
from armoe_jax.training import state as train_state
from armoe_jax.training.checkpointer import Checkpointer, SavePlan
from armoe_jax.training.objectives import batch_shapes, restoration_objective, step_batch
from armoe_jax.training.step import lower_train_step, make_train_step, metrics_shapes
from input_pipeline.codecs import CODEC_IDS

CONFIG = dataclasses.replace(
    networks.WINDOWED,
    share_mixings=True,
    adapt_experts=True,
    quality_range=(0.0, 8.0),
    interval_head=True,
)
BATCH, SIZE = 8, 8


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    gt = rng.random((BATCH, SIZE, SIZE, 3), np.float32)
    steps = rng.integers(2, 60, (BATCH, 64)).astype(np.float32)
    lq = np.clip(gt + rng.normal(0, 0.1, gt.shape), 0, 1).astype(np.float32)
    return {"lq": lq, "gt": gt, "quality": np.log2(steps.mean(axis=1)), "steps": steps}


@pytest.fixture(scope="module")
def variables():
    init = jax.jit(build_model(CONFIG).init)
    return jax.device_get(init(jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32)))


def start(variables, batch, *, devices=1, fsdp=False, accumulate=1, **execution):
    """Returns a placed state, and the compiled step on this batch."""
    model, options = build_model(CONFIG, **execution), make_options(accumulation_steps=accumulate)
    mesh = sharding.make_mesh(devices)
    stacked = stack_blocks(variables, CONFIG)
    shapes = metrics_shapes(CONFIG.num_layers, len(CONFIG.experts))
    state = train_state.create(stacked, options.optimizer, ema=False, metrics=shapes)
    state = sharding.place(state, train_state.shardings(state, mesh, fsdp=fsdp))
    placed = sharding.place_batch(batch, mesh)
    noise = np.zeros((CONFIG.num_layers, BATCH, len(CONFIG.experts)), np.float32)
    step_fn = make_train_step(model, options)
    step = lower_train_step(step_fn, mesh, state, placed, fsdp=fsdp, gate_noise=noise).compile()
    noise = jax.device_put(noise, step.input_shardings[0][2])
    return state, lambda state: step(state, placed, noise)


def train(variables, batch, **how):
    state, step = start(variables, batch, **how)
    losses = []
    for _ in range(2):
        state, info = step(state)
        losses.append(float(info.loss))
    return losses, jax.device_get(state.metrics)


@pytest.fixture(scope="module")
def alone(variables, batch):
    return train(variables, batch)


def test_a_step_learns_and_reports(alone):
    losses, metrics = alone
    assert losses[1] < losses[0]
    # Two steps, eight images of four windows, two layers: so many choices were counted.
    np.testing.assert_array_equal(metrics.expert_counts.total.sum(axis=1), [64, 64])
    # A layer of two experts has ceil(4 * 1.25 / 2) = 3 places for each, and may drop one window.
    assert (np.asarray(metrics.dropped.total) <= 16).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"devices": 8, "remat": True, "scan": True},
        {"devices": 4, "fsdp": True, "accumulate": 2},
    ],
    ids=str,
)
def test_the_way_of_training_does_not_matter(variables, batch, alone, changes):
    losses, _ = train(variables, batch, **changes)
    np.testing.assert_allclose(losses, alone[0], rtol=2e-4)


def test_dense_and_half_precision_train(variables, batch):
    losses, _ = train(variables, batch, dispatch="dense", dtype="bfloat16")
    assert losses[1] < losses[0]


def test_resuming_goes_on_as_if_nothing_had_happened(variables, batch, tmp_path):
    state, step = start(variables, batch)
    state, _ = step(state)
    with Checkpointer(tmp_path, SavePlan(every=1, num_steps=9)) as checkpointer:
        checkpointer.save(state, make_meta(ema=False))
        checkpointer.wait()
        resumed, _ = checkpointer.restore(shapes_of(state))
    jax.tree.map(np.testing.assert_array_equal, step(resumed), step(state))


def test_batches_bring_steps(batch):
    labelled = {"lq": batch["lq"], "gt": batch["gt"], "steps": batch["steps"]}
    labelled |= {"log2_step": batch["quality"], "qp": np.full(BATCH, 30, np.int32)}
    labelled["codec"] = np.full(BATCH, CODEC_IDS["jpeg"], np.int32)
    got = step_batch(labelled, CONFIG)
    np.testing.assert_array_equal(got["steps"], batch["steps"])
    np.testing.assert_array_equal(got["quality"], batch["quality"])
    shapes = batch_shapes(CONFIG, BATCH, SIZE, SIZE)
    assert {n: x.shape for n, x in got.items()} == {n: x.shape for n, x in shapes.items()}
    with pytest.raises(ValueError, match=r"for JPEGs: take data\.source 'jpeg'"):
        step_batch(labelled | {"codec": np.full(BATCH, CODEC_IDS["vvc"], np.int32)}, CONFIG)


def test_a_file_saved_twice_is_told_what_its_file_says(variables, batch):
    model, keys = build_model(CONFIG), jax.random.split(jax.random.key(0))
    objective = jax.jit(restoration_objective(model, make_options(quality_jitter=0.0)))
    noise = jnp.zeros((CONFIG.num_layers, BATCH, len(CONFIG.experts)))

    def loss(quality, steps):
        inputs = batch | {"quality": jnp.asarray(quality), "steps": jnp.asarray(steps)}
        return objective(variables["params"], {}, inputs, keys, noise)[0]

    steps = np.asarray(batch["steps"])
    said = np.log2(steps.mean(axis=-1))
    assert loss(said + 2.0, steps) == loss(said, steps)
    unknown = np.zeros_like(steps)
    assert loss(said + 2.0, unknown) != loss(said, unknown)
