"""Runs one module several times in a row, each time with parameters of its own.

Parameters are stored per step under the same paths whether the steps are unrolled or scanned;
a scan stacks them inside the compiled program.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

PyTree = Any


def run_in_sequence(
    parent: nn.Module,
    child: nn.Module,
    names: Sequence[str],
    x: jax.Array,
    control: PyTree,
    *,
    scan: bool,
    remat: bool = False,
) -> tuple[jax.Array, PyTree]:
    """Applies `child` once for each name: x, record = child(x, control of this step).

    Args:
        parent: Bound module inside whose `__call__` this runs; owns the variables.
        child: Unbound module.
        names: Names of the steps' variables under `parent`.
        x: Input of the first step.
        control: Tree of arrays with a leading axis over steps.
        scan: Compiles one step and loops, instead of unrolling.
        remat: Recomputes a step's activations in the backward pass.

    Returns:
        The last step's output, and the steps' records stacked on a leading axis.
    """
    if parent.is_initializing() or not scan or len(names) == 1:
        return _unrolled(parent, child, names, x, control, remat=remat)
    return _scanned(parent, child, names, x, control, remat=remat)


def _unrolled(
    parent: nn.Module,
    child: nn.Module,
    names: Sequence[str],
    x: jax.Array,
    control: PyTree,
    *,
    remat: bool,
) -> tuple[jax.Array, PyTree]:
    records = []
    for i, name in enumerate(names):
        step = child.clone(parent=parent, name=name)
        call = nn.remat(type(child).__call__) if remat else type(child).__call__
        x, record = call(step, x, jax.tree.map(lambda a, i=i: a[i], control))
        records.append(record)
    return x, _stack(records)


def _scanned(
    parent: nn.Module,
    child: nn.Module,
    names: Sequence[str],
    x: jax.Array,
    control: PyTree,
    *,
    remat: bool,
) -> tuple[jax.Array, PyTree]:
    variables = {
        collection: _stack([stored[name] for name in names])
        for collection, stored in parent.variables.items()
        if names[0] in stored
    }
    statistics_change = parent.is_mutable_collection("batch_stats") and "batch_stats" in variables
    mutable = ["batch_stats"] if statistics_change else []
    keys = None
    if parent.has_rng("dropout"):
        keys = jax.random.split(parent.make_rng("dropout"), len(names))

    def body(x: jax.Array, step: PyTree) -> tuple[jax.Array, PyTree]:
        variables, control, key = step
        rngs = {} if key is None else {"dropout": key}
        (x, record), updates = child.apply(variables, x, control, rngs=rngs, mutable=mutable)
        return x, (record, updates)

    if remat:
        body = jax.checkpoint(body, prevent_cse=False)
    x, (records, updates) = jax.lax.scan(body, x, (variables, control, keys))
    if statistics_change:
        for i, name in enumerate(names):
            new = jax.tree.map(lambda a, i=i: a[i], updates["batch_stats"])
            parent.put_variable("batch_stats", name, new)
    return x, records


def _stack(trees: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
