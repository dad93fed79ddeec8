"""What depends on the platform and the devices that a program is compiled for, in one place."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Float

SMALL = 4096
"""Elements up to which `materialise_small` handles an array."""


def materialise_small(tree: Any) -> Any:
    """Returns a tree of arrays; on CPU its small ones no longer are expressions of other arrays.

    XLA's CPU compiler moves the slicing of stacked parameters into the loops that use them, which
    then are not vectorised (3 times slower depthwise convolutions), and it drops optimisation
    barriers before it does so. A product with the identity cannot be moved.

    Args:
        tree: float32 arrays; those of more than SMALL elements are returned as they are.
    """
    leaves, structure = jax.tree.flatten(tree)
    small = [i for i, leaf in enumerate(leaves) if 0 < leaf.size <= SMALL]
    if not small:
        return tree
    flat = jnp.concatenate([leaves[i].ravel() for i in small])
    flat = jax.lax.platform_dependent(flat, cpu=_through_a_product, default=lambda x: x)
    ends = np.cumsum([leaves[i].size for i in small])
    for i, part in zip(small, jnp.split(flat, ends[:-1]), strict=True):
        leaves[i] = part.reshape(leaves[i].shape)
    return jax.tree.unflatten(structure, leaves)


def num_devices() -> int:
    """Returns how many devices share the work: those of the mesh, where the compiler splits it."""
    mesh = jax.sharding.get_abstract_mesh()
    automatic = all(kind == AxisType.Auto for kind in mesh.axis_types)
    return mesh.size if automatic and not mesh.empty else 1


def everywhere(tree: Any) -> Any:
    """Keeps arrays whole on every device, and their gradients: small ones that all look at."""
    if num_devices() == 1:
        return tree
    return jax.lax.with_sharding_constraint(tree, PartitionSpec())


def _through_a_product(x: Float[Array, " n"]) -> Float[Array, " n"]:
    rows = jnp.pad(x, (0, x.size % 2)).reshape(2, -1)
    same = jnp.matmul(jnp.eye(2, dtype=x.dtype), rows, precision="highest")
    return same.ravel()[: x.size]
