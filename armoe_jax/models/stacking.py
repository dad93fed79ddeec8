"""Two layouts of the variables: one array per block, or the arrays of equal blocks in one.

Everything outside of a training step (files, conversion, restoration) has one array per block, as
`ARMoE.init` names them. A training state has them stacked, with leading axes over groups and
blocks: the step's program would otherwise cut and join thousands of arrays, each with a kernel of
its own, and compile for minutes. The network takes either.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding

PyTree = Any


@runtime_checkable
class Architecture(Protocol):
    """What stacking asks of a network's record."""

    @property
    def equal_groups(self) -> bool:
        """Whether all groups have the same parameters."""
        ...


_MEMBERS = {"blocks": "block", "groups": "group"}
"""Name of a stack -> what its members are called, followed by _0, _1, ..."""


def stack_name(member: str) -> str:
    """Returns the name under which "block_0" or "group_0" is stacked with its equals."""
    return f"{member.rpartition('_')[0]}s"


def num_stacked_axes(path: Sequence[Any]) -> int:
    """Returns how many leading axes of a leaf run over blocks and groups.

    Args:
        path: The leaf's key path, as `jax.tree_util.tree_map_with_path` gives it.
    """
    return sum(getattr(key, "key", None) in _MEMBERS for key in path)


def stack_blocks(variables: Mapping[str, PyTree], config: Architecture) -> dict[str, PyTree]:
    """Returns variables with the blocks of each group in one array each, and equal groups, too.

    Args:
        variables: Collections such as "params", of one array per block; NumPy arrays, arrays on a
            mesh, or `jax.ShapeDtypeStruct`.
        config: The architecture, which says whether the groups are equal.
    """
    stacked = {}
    for collection, tree in variables.items():
        groups = {
            name: _stack_members(child, "blocks") if name.startswith("group_") else child
            for name, child in tree.items()
        }
        stacked[collection] = _stack_members(groups, "groups") if config.equal_groups else groups
    return stacked


def stack_like(tree: PyTree, like: PyTree) -> PyTree:
    """Returns a tree of one array per block, stacked where another tree is.

    Args:
        tree: Any tree with variables in it, such as the state of an optimiser.
        like: The same tree, stacked; only its structure counts.
    """

    def stack(wanted: Any, part: Any) -> Any:
        if not isinstance(wanted, Mapping):
            return part
        done = {}
        for name, child in wanted.items():
            if name in _MEMBERS and name not in part:
                members = [part[member] for member in _members(part, name)]
                done[name] = _join([stack_like(member, child) for member in members])
            else:
                done[name] = stack_like(part[name], child)
        return done

    return jax.tree.map(stack, like, tree, is_leaf=_is_dict)


def unstack_blocks(tree: PyTree) -> PyTree:
    """Returns a tree with one array per block, whether it was stacked or not.

    NumPy arrays become views; arrays on a mesh keep how their other axes are split.
    """

    def unstack(part: Any) -> Any:
        if not isinstance(part, Mapping):
            return part
        done = {}
        for name, child in part.items():
            if name not in _MEMBERS:
                done[name] = unstack_blocks(child)
                continue
            for i in range(jax.tree.leaves(child)[0].shape[0]):
                member = jax.tree.map(functools.partial(_cut, index=i), child)
                done[f"{_MEMBERS[name]}_{i}"] = unstack_blocks(member)
        return done

    return jax.tree.map(unstack, tree, is_leaf=_is_dict)


def _is_dict(tree: Any) -> bool:
    return isinstance(tree, Mapping)


def _members(tree: Mapping[str, Any], stack: str) -> list[str]:
    names = []
    while f"{_MEMBERS[stack]}_{len(names)}" in tree:
        names.append(f"{_MEMBERS[stack]}_{len(names)}")
    return names


def _stack_members(tree: Mapping[str, Any], stack: str) -> dict[str, Any]:
    """Stacks the members in a dictionary if there are several."""
    names = _members(tree, stack)
    if len(names) < 2:
        return dict(tree)
    others = {name: child for name, child in tree.items() if name not in names}
    return others | {stack: _join([tree[name] for name in names])}


def _join(trees: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: _join_leaves(leaves), *trees)


def _join_leaves(leaves: Sequence[Any]) -> Any:
    first = leaves[0]
    if isinstance(first, jax.ShapeDtypeStruct):
        shape = (len(leaves), *first.shape)
        return jax.ShapeDtypeStruct(shape, first.dtype, sharding=_with_axis(first.sharding))
    if isinstance(first, jax.Array):
        return _joiner(_with_axis(first.sharding))(list(leaves))
    return np.stack(leaves)


def _cut(leaf: Any, *, index: int) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        sharding = _without_axis(leaf.sharding)
        return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype, sharding=sharding)
    if isinstance(leaf, jax.Array):
        return _cutter(_without_axis(leaf.sharding))(leaf, index)
    return leaf[index]


# One small program per shape, used for all blocks.
@functools.cache
def _joiner(sharding: Sharding | None) -> Callable[[list[jax.Array]], jax.Array]:
    return jax.jit(jnp.stack, out_shardings=sharding)


@functools.cache
def _cutter(sharding: Sharding | None) -> Callable[[jax.Array, int], jax.Array]:
    return jax.jit(lambda x, i: x[i], out_shardings=sharding)


def _with_axis(sharding: Any) -> Sharding | None:
    if not isinstance(sharding, NamedSharding):
        return sharding
    spec = (None, *sharding.spec) if sharding.spec else ()
    return NamedSharding(sharding.mesh, PartitionSpec(*spec))


def _without_axis(sharding: Any) -> Sharding | None:
    if not isinstance(sharding, NamedSharding):
        return sharding
    return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))
