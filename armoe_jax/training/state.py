"""Everything a training run is at one moment, as one tree of arrays."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from armoe_jax.models.stacking import num_stacked_axes
from armoe_jax.training.sharding import PyTree, replicated, tree_shardings

EMA_WARMUP = 10.0
"""The moving average's decay is (1 + t) / (10 + t) until it reaches its final value."""


@flax.struct.dataclass
class TrainState:
    """The state of a run. A checkpoint holds all of it, so that resuming repeats every bit.

    Attributes:
        step: Steps taken, skipped ones included; also the number of the next batch. int32 ().
        skipped_in_a_row: Skipped steps since the last good one. int32 ().
        params: Parameters.
        batch_stats: The gates' running statistics; {} without experts.
        opt_state: State of `optim.make_optimizer`.
        ema: {"params", "batch_stats"}: moving averages, or {} if switched off.
        metrics: `TrainMetrics` accumulated since the last line of the log.
    """

    step: Any
    skipped_in_a_row: Any
    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree
    ema: PyTree
    metrics: PyTree

    @property
    def variables(self) -> dict[str, PyTree]:
        """Raw parameters and running statistics, as `model.apply` takes them."""
        return as_variables(self.params, self.batch_stats)

    @property
    def best_variables(self) -> dict[str, PyTree]:
        """The moving averages if there are any, else the raw variables."""
        if not self.ema:
            return self.variables
        return as_variables(self.ema["params"], self.ema["batch_stats"])


def as_variables(params: PyTree, batch_stats: PyTree) -> dict[str, PyTree]:
    """Returns a variables dictionary, without `batch_stats` where there are none."""
    return {"params": params} | ({"batch_stats": batch_stats} if batch_stats else {})


def create(
    variables: Mapping[str, PyTree],
    optimizer: optax.GradientTransformation,
    *,
    ema: bool,
    metrics: PyTree,
) -> TrainState:
    """Returns the state before the first step.

    Args:
        variables: `model.init`'s result, or pretrained variables of the same structure.
        optimizer: From `optim.make_optimizer`.
        ema: Whether moving averages are kept; they start equal to the variables.
        metrics: `TrainMetrics` (or its shapes) of one step; the state starts with zeros.
    """
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    averages = {"params": params, "batch_stats": batch_stats} if ema else {}
    return TrainState(
        step=jnp.int32(0),
        skipped_in_a_row=jnp.int32(0),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        ema=jax.tree.map(jnp.asarray, averages),
        metrics=zeros_like(metrics),
    )


def zeros_like(tree: PyTree) -> PyTree:
    """Returns zeros of a tree's shapes (arrays or `jax.ShapeDtypeStruct`)."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)


def shardings(state: TrainState, mesh: jax.sharding.Mesh, *, fsdp: bool) -> TrainState:
    """Returns the state's shardings: with FSDP, parameters, averages and moments are split."""
    whole = jax.tree.map(lambda _: replicated(mesh), state)

    def split(tree: PyTree) -> PyTree:
        return tree_shardings(tree, mesh, fsdp=fsdp, num_whole_axes=num_stacked_axes)

    return whole.replace(
        params=split(state.params), opt_state=split(state.opt_state), ema=split(state.ema)
    )


def ema_decay(step: Int[Array, ""], largest: float) -> Float[Array, ""]:
    """Returns min(largest, (1 + t) / (10 + t)): early averages forget the random start soon."""
    t = jnp.asarray(step, float)
    return jnp.minimum(largest, (1.0 + t) / (EMA_WARMUP + t))


def update_ema(average: PyTree, new: PyTree, decay: Float[Array, ""]) -> PyTree:
    """Returns decay * average + (1 - decay) * new, leaf by leaf."""

    def mix(a: Array, n: Array) -> Array:
        d = decay.astype(a.dtype)
        return d * a + (1 - d) * n

    return jax.tree.map(mix, average, new)
