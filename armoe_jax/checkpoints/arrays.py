"""What Orbax does not do for the arrays of a checkpoint: tell damage, keep empty ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, UInt32

PyTree = Any


def fingerprint(tree: PyTree) -> list[int]:
    """Returns one number per array that changes if any single element of it changes.

    Computed on the devices that hold the arrays; independent of how they are split.
    """
    # One small program per shape: a single one for thousands of arrays compiles for a minute.
    numbers = []
    for leaf in jax.tree.leaves(tree):
        numbers.append(_fingerprint(leaf))
        if jax.default_backend() == "cpu":
            # Programs that do not depend on each other would run at once there, and, where arrays
            # are split, wait for each other's sums for ever if threads are few.
            numbers[-1].block_until_ready()
    return [int(x) for x in jax.device_get(numbers)]


def empty_shapes(tree: PyTree) -> dict[str, list[int]]:
    """Returns the shape of each array without elements, by its number among a tree's leaves."""
    leaves = enumerate(jax.tree.leaves(tree))
    return {str(i): list(leaf.shape) for i, leaf in leaves if _is_empty(leaf)}


def fill_empty(tree: PyTree) -> PyTree:
    """Returns a tree with one zero in place of each array without elements, which Orbax refuses.

    Position biases have such arrays in networks narrower than 32 channels.

    Args:
        tree: Arrays on a mesh, or `jax.ShapeDtypeStruct` leaves.
    """

    def fill(leaf: Any) -> Any:
        if not _is_empty(leaf):
            return leaf
        whole = NamedSharding(leaf.sharding.mesh, PartitionSpec())
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct((1,), leaf.dtype, sharding=whole)
        return jax.make_array_from_callback((1,), whole, lambda _: np.zeros(1, leaf.dtype))

    return jax.tree.map(fill, tree)


def restore_empty(filled: PyTree, like: PyTree) -> PyTree:
    """Undoes `fill_empty`; `like` has the shapes, types and shardings from before."""

    def empty(value: Any, wanted: Any) -> Any:
        if not _is_empty(wanted):
            return value
        zeros = np.zeros(wanted.shape, wanted.dtype)
        return jax.make_array_from_callback(wanted.shape, wanted.sharding, lambda i: zeros[i])

    return jax.tree.map(empty, filled, like)


def with_empty_shapes(filled: PyTree, shapes: Mapping[str, Sequence[int]]) -> PyTree:
    """Undoes `fill_empty` with what `empty_shapes` has noted; gives NumPy arrays."""
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, filled))
    for number, shape in shapes.items():
        leaves[int(number)] = np.zeros(shape, leaves[int(number)].dtype)
    return jax.tree.unflatten(structure, leaves)


def _is_empty(leaf: Any) -> bool:
    return 0 in leaf.shape


@jax.jit
def _fingerprint(x: Array) -> UInt32[Array, ""]:
    """Returns sum_i (2 i + 1) word_i modulo 2^32: odd factors, so one change never vanishes."""
    if x.dtype == jnp.bool_:
        x = x.astype(jnp.uint8)
    unsigned = {1: jnp.uint8, 2: jnp.uint16}.get(x.dtype.itemsize, jnp.uint32)
    words = jax.lax.bitcast_convert_type(x, unsigned).astype(jnp.uint32)
    position = jnp.zeros(words.shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(words.ndim)):
        index = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
        position = position + index * jnp.uint32(stride % 2**32)
        stride *= words.shape[axis]
    return jnp.sum(words * (2 * position + 1), dtype=jnp.uint32)
