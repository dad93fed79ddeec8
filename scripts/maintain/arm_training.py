"""One arm of a comparison, trained at a budget: a configured network, or plain convolutions."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from expert_arms import of_arm
from flax import traverse_util

from armoe_jax.checkpoints.weights import load_weights
from armoe_jax.evaluation.windowed import silenced
from armoe_jax.images.jpeg import JpegCoding
from armoe_jax.models import ARMoEWConfig, build_model
from armoe_jax.models.stacking import unstack_blocks
from armoe_jax.restore import Restorer
from armoe_jax.training import setup

PLAIN_LAYERS, PLAIN_WIDTH, PLAIN_RATE = 8, 32, 3e-4
CALIBRATION_STEPS = 20


class Sample(NamedTuple):
    """What one image is evaluated with."""

    lq: np.ndarray
    gt: np.ndarray
    coding: JpegCoding | None = None
    qp: float | None = None


Restore = Callable[[Sample], np.ndarray]


class Trained(NamedTuple):
    """A trained network; `silenced` is it without what its experts add, if it has any."""

    restore: Restore
    parameters: int
    silenced: Restore | None = None


def train(
    name: str, config: Any, seed: int, seconds: float | None, steps: int | None
) -> tuple[dict[str, Any], Trained]:
    """Trains a number of steps, or as many as fit the budget as a first few take.

    Args:
        name: Of an arm.
        config: Configuration that the arms are made from; not changed.
        seed: Of weights, data and noise.
        seconds: CPU seconds; not looked at where `steps` is given.
        steps: Number of steps.

    Returns:
        What was trained, for the results, and the trained network.
    """
    config = config.copy_and_resolve_references()
    config.train.seed = seed
    config = of_arm(name, config)
    make = _plain if name == "plain" else _armoe
    if steps is None:
        steps = max(int((seconds or 0) / _seconds_of_step(make(config)[0], config)), 1)
    config.train.num_steps = steps
    step, finish = make(config)
    start = time.process_time()
    with setup.open_data(setup.prepare(config)) as batches:
        for batch in batches:
            step(batch)
    spent = time.process_time() - start
    trained = finish()
    row = {"arm": name, "seed": seed, "parameters": trained.parameters}
    row |= {"steps": config.train.num_steps, "cpu_seconds": round(spent, 1)}
    return row, trained


def _seconds_of_step(step: Callable[[Any], None], config: Any) -> float:
    with setup.open_data(setup.prepare(config), num_steps=CALIBRATION_STEPS + 1) as loader:
        batches = iter(loader)
        step(next(batches))
        start = time.process_time()
        for batch in batches:
            step(batch)
        return (time.process_time() - start) / CALIBRATION_STEPS


def _armoe(config: Any) -> tuple[Callable[[Any], None], Callable[[], Trained]]:
    """Returns a function that trains on a batch, and one that returns the result."""
    parts = setup.prepare(config)
    program = setup.compile_step(parts)
    variables = setup.first_variables(parts)
    if config.train.init_from:
        variables = silent_additions(variables, load_weights(config.train.init_from).variables)
    state = setup.state_from(parts, variables)

    def step(batch: Any) -> None:
        nonlocal state
        state, info = program(state, setup.place_batch(parts, batch))
        jax.block_until_ready(info.loss)

    def finish() -> Trained:
        count = sum(x.size for x in jax.tree.leaves(state.params))
        model = parts.model
        variables = unstack_blocks(jax.device_get(state.best_variables))
        if not isinstance(model.config, ARMoEWConfig) or not model.config.experts:
            return Trained(_sparsely(model, variables), count)
        make = _densely if config.model.dispatch == "dense" else _sparsely
        without = silenced(model.config, variables)
        return Trained(make(model, variables), count, make(model, without))

    return step, finish


def silent_additions(variables: Mapping[str, Any], trained: Mapping[str, Any]) -> dict[str, Any]:
    """Returns variables in which what the trained network has not puts out 0.

    The last product of an expert and of a residual pair starts at 0: nothing else, or no gradient
    would arrive.

    Args:
        variables: Of the larger network, an array a block.
        trained: Of the smaller one.
    """
    known = traverse_util.flatten_dict(dict(trained), sep="/")
    flat: dict[str, Any] = traverse_util.flatten_dict(dict(variables), sep="/")
    last = ("mix_out", "conv1/kernel")
    for name, value in flat.items():
        if name not in known and name.endswith(last):
            flat[name] = np.zeros_like(value)
    return traverse_util.unflatten_dict(flat, sep="/")


def _sparsely(model: Any, variables: Any) -> Restore:
    """Returns the network as users run it, told what is known of a sample's coding."""
    restorers: dict[float | None, Restorer] = {}

    def restore(sample: Sample) -> np.ndarray:
        qp = sample.qp if model.config.quality_range else None
        if qp not in restorers:
            restorers[qp] = Restorer(model.config, variables, coding_quality=qp)
        return restorers[qp](sample.lq, coding=sample.coding)

    return restore


def _densely(model: Any, variables: Any) -> Restore:
    """Returns the network with all experts on every window, as it was trained."""
    layers, experts = model.config.num_layers, len(model.config.experts)
    variables = jax.tree.map(jnp.asarray, variables)

    @jax.jit
    def run(x: jax.Array, **told: jax.Array) -> jax.Array:
        noise = jnp.zeros((layers, x.shape[0], experts))
        return model.apply(variables, x, train=True, gate_noise=noise, **told)

    def restore(sample: Sample) -> np.ndarray:
        told = {}
        if model.config.interval_head and sample.coding is not None:
            told["steps"] = sample.coding.luma_table.reshape(1, 64).astype(np.float32)
        if model.config.quality_range and sample.qp is not None:
            told["quality"] = np.array([sample.qp], np.float32)
        return _to_image(run(sample.lq[None].astype(np.float32) / 255.0, **told)[0])

    return restore


def _plain(config: Any) -> tuple[Callable[[Any], None], Callable[[], Trained]]:
    """Likewise, for convolutions with rectifiers whose output is added to the input."""
    model = build_model(config.model.to_dict())
    loss_fn = setup.make_step_options(config, model).loss
    widths = [3, *[PLAIN_WIDTH] * (PLAIN_LAYERS - 1), 3]
    draws = jax.random.split(jax.random.key(config.train.seed), PLAIN_LAYERS)
    he = jax.nn.initializers.he_normal()
    params = [
        {"kernel": he(key, (3, 3, a, b), jnp.float32), "bias": jnp.zeros(b)}
        for key, a, b in zip(draws, widths[:-1], widths[1:], strict=True)
    ]
    params[-1] = jax.tree.map(jnp.zeros_like, params[-1])
    rate = optax.cosine_decay_schedule(PLAIN_RATE, config.train.num_steps)
    adam = optax.adam(rate, b1=0.9, b2=0.99)
    state = (params, adam.init(params))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        y = x
        for i, layer in enumerate(params):
            y = jax.lax.conv_general_dilated(
                y, layer["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            y = y + layer["bias"].reshape(1, 1, 1, -1)
            y = y if i == PLAIN_LAYERS - 1 else jax.nn.relu(y)
        return x + y

    @jax.jit
    def program(state: Any, lq: jax.Array, gt: jax.Array) -> Any:
        params, moments = state
        grads = jax.grad(lambda p: loss_fn(apply(p, lq), gt))(params)
        updates, moments = adam.update(grads, moments)
        return optax.apply_updates(params, updates), moments

    def step(batch: Any) -> None:
        nonlocal state
        state = jax.block_until_ready(program(state, batch["lq"], batch["gt"]))

    def finish() -> Trained:
        run = jax.jit(apply)

        def restore(sample: Sample) -> np.ndarray:
            return _to_image(run(state[0], sample.lq[None].astype(np.float32) / 255.0)[0])

        return Trained(restore, sum(x.size for x in jax.tree.leaves(state[0])))

    return step, finish


def _to_image(y: jax.Array) -> np.ndarray:
    return np.clip(np.rint(np.asarray(y) * 255.0), 0, 255).astype(np.uint8)
