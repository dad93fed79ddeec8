"""One optimisation step: a pure function of state and batch, compiled once for a mesh."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float

from armoe_jax.training import sharding
from armoe_jax.training import state as train_state
from armoe_jax.training.objectives import Batch, StepOptions, make_objective
from armoe_jax.training.state import TrainState
from armoe_jax.training.step_metrics import TrainMetrics, count_experts

PyTree = Any


@flax.struct.dataclass
class StepInfo:
    """What the loop looks at after every step.

    Attributes:
        loss: Total loss of the step; may be NaN. float ().
        skipped_in_a_row: Skipped steps up to now without a good one between. int32 ().
    """

    loss: Any
    skipped_in_a_row: Any


def make_train_step(model: Any, options: StepOptions) -> Callable[..., tuple[TrainState, StepInfo]]:
    """Returns the step function (state, batch, gate_noise=None) -> (state, info), not compiled.

    `batch` is what `step_batch` returns: "lq" (b h w c) and "gt" (b h*s w*s c), float, in [0, 1],
    and "quality" (b) for a network that adapts to it. `gate_noise` (l b e)
    replaces the random noise of the gates; tests use it.

    A step is skipped if its loss, the norm of its gradients, the new running statistics or the new
    parameters are not finite: parameters, optimiser, averages and running statistics stay as they
    were; the step number, and with it schedule and data, advances.
    """

    def step_fn(
        state: TrainState, batch: Batch, gate_noise: Float[Array, "l b e"] | None = None
    ) -> tuple[TrainState, StepInfo]:
        grads, batch_stats, outputs = _gradients(model, options, state, batch, gate_noise)
        # Without a barrier XLA's CPU compiler copies parts of the backward pass into every consumer
        # of a gradient, and takes minutes and gigabytes.
        grads, batch_stats = jax.lax.optimization_barrier((grads, batch_stats))
        rate = options.schedule(state.step)
        norm = optax.tree.norm(grads)
        old, new = _old_and_new(options, state, grads, batch_stats, rate)
        good = jax.lax.optimization_barrier(
            _is_finite(outputs["loss"], norm, batch_stats, new["params"])
        )
        kept = jax.tree.map(lambda n, o: jnp.where(good, n, o), new, old)
        streak = jnp.where(good, 0, state.skipped_in_a_row + 1).astype(jnp.int32)
        state = dataclasses.replace(
            state,
            step=state.step + 1,
            skipped_in_a_row=streak,
            metrics=state.metrics.merge(_step_metrics(outputs, norm, rate, good)),
            **kept,
        )
        return state, StepInfo(outputs["loss"], streak)

    return step_fn


def lower_train_step(
    step_fn: Callable[..., tuple[TrainState, StepInfo]],
    mesh: Mesh,
    state: TrainState,
    batch: Batch,
    *,
    fsdp: bool = False,
    gate_noise: Any = None,
) -> jax.stages.Lowered:
    """Lowers a step for a mesh: the batch split over it, the state donated.

    Args:
        step_fn: From `make_train_step`.
        mesh: From `sharding.make_mesh`.
        state: The state or its shapes.
        batch: A global batch or its shapes.
        fsdp: Whether parameters, averages and moments are split over the mesh.
        gate_noise: Gate noise or its shape, if the compiled step is to take it.

    Returns:
        The lowered step; `compile()` makes it an executable, whose `memory_analysis()` tells the
        memory it needs.
    """
    placement = train_state.shardings(state, mesh, fsdp=fsdp)
    whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    over_batch_axis = NamedSharding(mesh, PartitionSpec(None, sharding.DATA_AXIS))
    batch_placement = jax.tree.map(lambda _: split, dict(batch))
    arguments = [_shapes(state, placement), _shapes(dict(batch), batch_placement)]
    if gate_noise is not None:
        arguments.append(_shapes(gate_noise, over_batch_axis))
    jitted = jax.jit(step_fn, donate_argnums=0, out_shardings=(placement, whole))
    with jax.set_mesh(mesh):
        return jitted.lower(*arguments)


def make_gradients(model: Any, options: StepOptions) -> Callable[..., PyTree]:
    """Returns the function (state, batch, gate_noise=None) -> gradients of the step's loss.

    For looking at single steps: which gradients are not finite, whether they equal a reference.
    """

    def gradients(
        state: TrainState, batch: Batch, gate_noise: Float[Array, "l b e"] | None = None
    ) -> PyTree:
        return _gradients(model, options, state, batch, gate_noise)[0]

    return gradients


def metrics_shapes(num_layers: int, num_experts: int) -> TrainMetrics:
    """Returns the shapes of one step's `TrainMetrics`."""

    def example() -> TrainMetrics:
        zero = jnp.zeros((), float)
        outputs = {
            "loss": zero,
            "pixel_loss": zero,
            "load_balancing_loss": zero,
            "dropped": jnp.zeros((num_layers,), jnp.int32),
            "expert": jnp.zeros((num_layers, 1), jnp.int32),
            "num_experts": num_experts,
        }
        return _step_metrics(outputs, zero, zero, jnp.asarray(True))

    return jax.eval_shape(example)


def _shapes(tree: PyTree, placement: PyTree) -> PyTree:
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, placement
    )


def _gradients(
    model: Any,
    options: StepOptions,
    state: TrainState,
    batch: Batch,
    gate_noise: Float[Array, "l b e"] | None,
) -> tuple[PyTree, PyTree, dict[str, Any]]:
    """Returns mean gradients, new running statistics and the outputs of all micro-batches."""
    key = jax.random.fold_in(jax.random.key(options.seed), state.step)
    differentiate = jax.value_and_grad(make_objective(model, options), has_aux=True)

    def one(batch_stats: PyTree, piece: Batch, noise: Any, number: Any) -> tuple[PyTree, PyTree]:
        keys = jax.random.split(jax.random.fold_in(key, number))
        (_, (stats, outputs)), grads = differentiate(state.params, batch_stats, piece, keys, noise)
        return grads, (stats, outputs)

    count = options.accumulation_steps
    if count == 1:
        grads, (stats, outputs) = one(state.batch_stats, batch, gate_noise, 0)
        return grads, stats, outputs | {"num_experts": len(model.config.experts)}

    pieces = {name: _split(value, count, axis=0) for name, value in batch.items()}
    noises = None if gate_noise is None else _split(gate_noise, count, axis=1)

    def body(carry: tuple[PyTree, PyTree], piece: tuple[Any, Any, Any]) -> tuple[PyTree, PyTree]:
        total, batch_stats = carry
        grads, (stats, outputs) = one(batch_stats, *piece)
        return (jax.tree.map(jnp.add, total, grads), stats), outputs

    start = (train_state.zeros_like(state.params), state.batch_stats)
    (total, stats), outputs = jax.lax.scan(body, start, (pieces, noises, jnp.arange(count)))
    grads = jax.tree.map(lambda x: x / count, total)
    merged = {
        name: outputs[name].mean(axis=0) for name in ("loss", "pixel_loss", "load_balancing_loss")
    }
    merged["dropped"] = outputs["dropped"].sum(axis=0)
    layers = outputs["expert"].shape[1]
    merged["expert"] = jnp.moveaxis(outputs["expert"], 0, 1).reshape(layers, -1)
    return grads, stats, merged | {"num_experts": len(model.config.experts)}


def _split(x: Array, count: int, *, axis: int) -> Array:
    """Returns micro-batches in front: number i takes the images i, i + count, i + 2 * count, ...

    Strided, so that each device's part of the batch falls into all micro-batches evenly and no
    image travels.
    """
    shape = (*x.shape[:axis], x.shape[axis] // count, count, *x.shape[axis + 1 :])
    return jnp.moveaxis(x.reshape(shape), axis + 1, 0)


def _old_and_new(
    options: StepOptions,
    state: TrainState,
    grads: PyTree,
    batch_stats: PyTree,
    rate: Float[Array, ""],
) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
    """Returns what an update replaces, and by what."""
    updates, opt_state = options.optimizer.update(grads, state.opt_state, state.params)
    params = jax.tree.map(lambda p, u: p - (rate * u).astype(p.dtype), state.params, updates)
    new = {"params": params, "batch_stats": batch_stats, "opt_state": opt_state}
    if state.ema:
        decay = train_state.ema_decay(state.step, options.ema_decay)
        latest = {"params": params, "batch_stats": batch_stats}
        new["ema"] = train_state.update_ema(state.ema, latest, decay)
    return {name: getattr(state, name) for name in new}, new


def _is_finite(
    loss: Float[Array, ""], norm: Float[Array, ""], batch_stats: PyTree, params: PyTree
) -> Bool[Array, ""]:
    """Returns whether a step may be used; a NaN or infinity anywhere makes its sum one, too.

    A finite norm also keeps Adam's squares finite; finite parameters keep their averages so.
    """
    leaves = jax.tree.leaves((batch_stats, params))
    total = sum((jnp.sum(leaf) for leaf in leaves), start=0.0)
    return jnp.isfinite(loss) & jnp.isfinite(norm) & jnp.isfinite(total)


def _step_metrics(
    outputs: Mapping[str, Any],
    norm: Float[Array, ""],
    rate: Float[Array, ""],
    good: Bool[Array, ""],
) -> TrainMetrics:
    return TrainMetrics.single_from_model_output(
        loss=jnp.asarray(outputs["loss"], float),
        pixel_loss=jnp.asarray(outputs["pixel_loss"], float),
        load_balancing_loss=jnp.asarray(outputs["load_balancing_loss"], float),
        grad_norm=jnp.asarray(norm, float),
        learning_rate=rate,
        skipped=(~good).astype(jnp.int32),
        dropped=outputs["dropped"],
        expert_counts=count_experts(outputs["expert"], outputs["num_experts"], counted=good),
    )
