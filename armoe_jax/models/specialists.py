"""Several sets of a network's weights, each for a range of coding qualities.

Experts in the sense of a mixture, but of whole networks: the coding quality is the gate, an image
runs through one of them, and costs what it costs without the others.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

PyTree = Any
Restore = Callable[..., Float[Array, "b h w c"]]
"""(weights, arrays with a leading axis over images, or None) -> images."""


def specialist_of(quality: Float[Array, " b"], bounds: Sequence[float]) -> Int[Array, " b"]:
    """Returns the index of each image's specialist: how many of the bounds its quality exceeds."""
    exceeded = quality.reshape(-1, 1) > jnp.asarray(bounds, quality.dtype).reshape(1, -1)
    return jnp.sum(exceeded, axis=1)


def restore_by_specialists(
    restore: Restore, specialists: Sequence[PyTree], index: Int[Array, " b"], *arrays: Any
) -> Float[Array, "b h w c"]:
    """Restores each image by one of several sets of weights.

    A batch that is coded alike, as frames of a video are, stays one; else images follow each other.

    Args:
        restore: The network.
        specialists: Their weights, trees of equal structure.
        index: Of each image's specialist.
        arrays: What `restore` takes besides weights; each has an axis over images, or is None.
    """
    if index.shape[0] == 1:
        return restore(_weights_of(specialists, index[0]), *arrays)

    def together(arrays: PyTree) -> Array:
        return restore(_weights_of(specialists, index[0]), *arrays)

    def one(image: PyTree) -> Array:
        number, arrays = image
        return restore(
            _weights_of(specialists, number), *jax.tree.map(lambda array: array[None], arrays)
        )[0]

    def one_by_one(arrays: PyTree) -> Array:
        return jax.lax.map(one, (index, arrays))

    return jax.lax.cond(jnp.all(index == index[0]), together, one_by_one, arrays)


def _weights_of(specialists: Sequence[PyTree], number: Int[Array, ""]) -> PyTree:
    """Returns one of several trees: a sum, which ONNX has where it has no choice by index."""
    shares = [(number == i).astype(jnp.float32) for i in range(len(specialists))]

    def choose(*leaves: Array) -> Array:
        return functools.reduce(jnp.add, map(jnp.multiply, shares, leaves))

    return jax.tree.map(choose, *specialists)
