"""Training of networks that adapt to the coding quality, and of their estimator."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_steps import compile_step, make_model, make_options, make_state, make_variables

import configs
from armoe_jax.models import ARMoEWConfig, build_model
from armoe_jax.models.quality_estimator import ESTIMATORS, MeanEstimator
from armoe_jax.training import setup, sharding
from armoe_jax.training.objectives import batch_shapes, quality_objective, step_batch
from armoe_jax.training.resume import make_resume_check
from armoe_jax.training.step import make_gradients, make_train_step

RANGE = (17.0, 42.0)
BATCH, SIZE = 8, 16

MODEL = make_model(embed_dim=16, mlp_ratio=1.0, quality_range=RANGE)


def options(**changes):
    return make_options(learning_rate=1e-2, **changes)


@pytest.fixture(scope="module")
def variables():
    return make_variables(MODEL)


@pytest.fixture(scope="module")
def batch():
    """Ramps with noise that coding of a higher QP takes away."""
    rng = np.random.default_rng(0)
    quality = rng.choice([17, 22, 27, 32, 37, 42], BATCH).astype(np.float32)
    ramp = np.broadcast_to(np.linspace(0.3, 0.7, SIZE, dtype=np.float32), (BATCH, SIZE, SIZE))
    noise = rng.normal(size=(BATCH, SIZE, SIZE, 3)).astype(np.float32)
    kept = (0.1 * 2 ** (-(quality - 17) / 6)).reshape(-1, 1, 1, 1)
    lq = np.clip(ramp[..., None] + kept * noise, 0, 1)
    return {"lq": lq, "gt": np.clip(lq + 0.1 * noise, 0, 1), "quality": quality}


def gradients(opts, variables, batch):
    state = make_state(variables, opts, sharding.make_mesh(1), ema=False)
    return jax.device_get(jax.jit(make_gradients(MODEL, opts))(state, batch))


def largest(tree):
    return max(float(np.abs(leaf).max(initial=0)) for leaf in jax.tree.leaves(tree))


def test_restoration_learns_from_told_qualities_and_leaves_the_estimator(variables, batch):
    grads = gradients(options(), variables, batch)
    assert largest(grads["quality"]) == 0
    for name in ("modulation_first", "modulation_last"):
        rows = np.abs(grads[name]["table"]).max(axis=1)
        # Each quality in the batch is a knot, to rounding, and nothing was added to it.
        rows = rows > 1e-4 * rows.max()
        np.testing.assert_array_equal(rows, np.isin([17, 22, 27, 32, 37, 42], batch["quality"]))


def test_jitter_reaches_the_neighbours(variables, batch):
    alone = batch | {"quality": np.full(BATCH, 27, np.float32)}
    grads = gradients(options(quality_jitter=2.0), variables, alone)
    rows = np.abs(grads["modulation_last"]["table"]).max(axis=1)
    assert (rows[1:4] > 1e-2 * rows.max()).all()


def test_the_estimator_alone_is_trained_and_learns(variables, batch):
    opts = options(objective="quality", overrated=64.0)
    grads = gradients(opts, variables, batch)
    assert largest(grads.pop("quality")) > 0
    assert largest(grads) == 0
    step = jax.jit(make_train_step(MODEL, opts))
    state, seen = make_state(variables, opts, sharding.make_mesh(1), ema=False), []
    for _ in range(150):
        state, info = step(state, batch)
        seen.append(float(info.loss))
    estimator = MeanEstimator(RANGE)
    params = jax.tree.map(jnp.asarray, variables["params"]["quality"])
    estimate = estimator.apply({"params": params}, jnp.asarray(batch["lq"]))
    errors = (np.asarray(estimate) - batch["quality"]) / 12.5
    expected = np.mean(np.where(errors > 0, 64, 1) * errors**2)
    assert seen[0] == pytest.approx(expected, rel=1e-4)
    assert seen[-1] < 0.1 * seen[0]
    moved = jax.tree.map(lambda a, b: a - b, state.params, variables["params"])
    assert largest(moved.pop("quality")) > 0
    assert largest(moved) == 0


def test_the_estimator_is_that_of_the_configuration(batch):
    config = ARMoEWConfig(quality_range=RANGE, quality_estimator="attention", experts=())
    estimator = ESTIMATORS["attention"](RANGE)
    params = estimator.init(jax.random.key(0), jnp.asarray(batch["lq"]))["params"]
    objective = quality_objective(config, overrated=4.0)
    loss, _ = objective({"quality": params}, {}, batch, None, None)
    estimate = np.asarray(estimator.apply({"params": params}, jnp.asarray(batch["lq"])))
    errors = (estimate - batch["quality"]) / 12.5
    assert float(loss) == pytest.approx(np.mean(np.where(errors > 0, 4, 1) * errors**2), rel=1e-5)


def test_devices_and_micro_batches_see_their_own_qualities(variables, batch):
    opts = options(accumulation_steps=2)
    noise = np.zeros((1, BATCH, 2), np.float32)
    ends = []
    for devices in (1, 4):
        mesh = sharding.make_mesh(devices)
        state = make_state(variables, opts, mesh, ema=False)
        placed = sharding.place_batch(batch, mesh)
        step = compile_step(MODEL, opts, mesh, state, placed, gate_noise=noise)
        _, info = step(state, placed, jax.device_put(noise, step.input_shardings[0][2]))
        ends.append(float(info.loss))
    assert ends[0] == pytest.approx(ends[1], rel=1e-5)


def test_batches_bring_qualities_if_the_network_wants_them(batch):
    qp = batch["quality"].astype(np.int32)
    labelled = {"lq": batch["lq"], "gt": batch["gt"], "qp": qp, "codec": qp}
    plain = dataclasses.replace(MODEL.config, quality_range=())
    assert set(step_batch(labelled, plain)) == {"lq", "gt"}
    got = step_batch(labelled, MODEL.config)
    np.testing.assert_array_equal(got["quality"], batch["quality"])
    shapes = batch_shapes(MODEL.config, BATCH, SIZE, SIZE)
    assert {n: (x.shape, x.dtype) for n, x in got.items()} == {
        n: (x.shape, x.dtype) for n, x in shapes.items()
    }
    with pytest.raises(ValueError, match=r"unknown: take data.source 'built' or 'jpeg'"):
        step_batch(labelled | {"qp": qp - 99}, MODEL.config)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("objective", "speed", "train.objective is 'speed'; choose one of 'restoration', "),
        ("objective", "quality", "no estimator of it; give it one with --config.model.quality_ran"),
        (
            "quality_jitter",
            -1.0,
            "train.quality_jitter is -1.0; it must be a finite number",
        ),
    ],
)
def test_errors(field, value, message):
    config = configs.load("configs/base.py")
    config.train[field] = value
    with pytest.raises(ValueError, match=message):
        setup.make_step_options(config, build_model(config.model.to_dict()))


def test_runs_of_before_there_were_qualities_can_be_continued():
    config = configs.load("configs/base.py")
    check = make_resume_check(config, build_model(config.model.to_dict()))
    meta = {"model": build_model(config.model.to_dict()).config.to_dict(), "ema": True}
    meta["data"] = {"seed": 10, "batch_size": 32, "patch_size": 64}
    del meta["model"]["quality_range"]
    check(meta)
    with pytest.raises(ValueError, match=r"quality_range=\[\] \(checkpoint: \[17.0, 42.0\]\)"):
        check(meta | {"model": meta["model"] | {"quality_range": list(RANGE)}})
