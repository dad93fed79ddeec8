"""Runs one module several times in a row, each time with parameters of its own.

Parameters have the same names whether the steps are unrolled or scanned. Either takes them per step
or stacked (`armoe_jax.models.stacking`); a scan stacks them inside the compiled program if needed.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from armoe_jax.models.stacking import stack_name
from armoe_jax.ops.platform import everywhere, materialise_small

PyTree = Any

_POLICIES = {
    "products": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
        jax.checkpoint_policies.save_only_these_names("attention", "pooled"),
    ),
    "inputs": None,
}
"""What `jax.checkpoint` keeps, by the name used in `run_in_sequence`."""


def run_in_sequence(
    parent: nn.Module,
    child: nn.Module,
    names: Sequence[str],
    x: jax.Array,
    control: PyTree,
    *,
    scan: bool,
    stored: str = "everything",
) -> tuple[jax.Array, PyTree]:
    """Applies `child` once for each name: x, record = child(x, control of this step).

    Args:
        parent: Bound module inside whose `__call__` this runs; owns the variables.
        child: Unbound module.
        names: Names of the steps' variables under `parent`.
        x: Input of the first step.
        control: Tree of arrays with a leading axis over steps.
        scan: Compiles one step and loops, instead of unrolling.
        stored: What the backward pass finds stored, instead of recomputing it: "everything",
            "products" (results of matrix products and attention) or "inputs" (of each step).

    Returns:
        The last step's output, and the steps' records stacked on a leading axis.
    """
    stacked = stack_name(names[0]) in parent.variables.get("params", {})
    if not stacked and (parent.is_initializing() or not scan or len(names) == 1):
        return _unrolled(parent, child, names, x, control, stored=stored)
    return _scanned(parent, child, names, x, control, stored=stored, unroll=not scan)


def _unrolled(
    parent: nn.Module,
    child: nn.Module,
    names: Sequence[str],
    x: jax.Array,
    control: PyTree,
    *,
    stored: str,
) -> tuple[jax.Array, PyTree]:
    call = type(child).__call__
    if stored != "everything":
        call = nn.remat(call, policy=_POLICIES[stored])
    records = []
    for i, name in enumerate(names):
        step = child.clone(parent=parent, name=name)
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
    stored: str,
    unroll: bool,
) -> tuple[jax.Array, PyTree]:
    stack = stack_name(names[0])
    variables = {
        collection: of[stack] if stack in of else _stack([of[name] for name in names])
        for collection, of in parent.variables.items()
        if stack in of or names[0] in of
    }
    statistics_change = parent.is_mutable_collection("batch_stats") and "batch_stats" in variables
    mutable = ["batch_stats"] if statistics_change else []
    keys = None
    if parent.has_rng("dropout"):
        keys = jax.random.split(parent.make_rng("dropout"), len(names))

    def body(x: jax.Array, step: PyTree) -> tuple[jax.Array, PyTree]:
        variables, control, key = step
        # With FSDP a step's parameters are put together here, when they are needed.
        variables = everywhere(materialise_small(everywhere(variables)))
        rngs = {} if key is None else {"dropout": key}
        (x, record), updates = child.apply(variables, x, control, rngs=rngs, mutable=mutable)
        return x, (record, updates)

    if stored != "everything":
        body = jax.checkpoint(body, prevent_cse=False, policy=_POLICIES[stored])
    x, (records, updates) = jax.lax.scan(body, x, (variables, control, keys), unroll=unroll)
    if statistics_change:
        _store(parent, names, updates["batch_stats"])
    return x, records


def _store(parent: nn.Module, names: Sequence[str], statistics: PyTree) -> None:
    """Stores new running statistics of all steps in the layout that they came in."""
    stack = stack_name(names[0])
    if stack in parent.variables["batch_stats"]:
        parent.put_variable("batch_stats", stack, statistics)
        return
    for i, name in enumerate(names):
        parent.put_variable("batch_stats", name, jax.tree.map(lambda a, i=i: a[i], statistics))


def _stack(trees: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
