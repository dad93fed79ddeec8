"""Loops over an axis, several of its elements at a time: what a step needs stays in a cache."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any


def scan_in_blocks(
    step: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    carry: PyTree,
    xs: PyTree,
    limit: int,
) -> tuple[PyTree, PyTree]:
    """Like `jax.lax.scan` over axis 1, but with blocks of up to `limit` elements of it.

    Axis 0 is that of the images: it stays whole, so that devices among which images are divided
    all take part in every step.

    Args:
        step: carry, block -> carry, result; leaves are "b block ..." on both sides.
        carry: What goes from step to step.
        xs: Tree of arrays "b n ...".
        limit: At least 1. Blocks are smaller if that divides n evenly.

    Returns:
        The last carry, and the results joined: "b n ...".
    """
    n = jax.tree.leaves(xs)[0].shape[1]
    size = block_size(n, limit)
    steps = n // size
    if steps == 1 and n == size:
        return step(carry, xs)
    carry, stacked = jax.lax.scan(step, carry, jax.tree.map(lambda x: _split(x, steps, size), xs))
    results = jax.tree.map(_join, stacked)
    if n % size:
        carry, rest = step(carry, jax.tree.map(lambda x: x[:, steps * size :], xs))
        results = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), results, rest)
    return carry, results


def block_size(number: int, limit: int) -> int:
    """Returns the largest divisor of `number` up to `limit`, or `limit` if the divisor is small.

    Small is up to half of the limit. A remainder costs a second program for the last block, small
    blocks cost time.
    """
    largest = next(d for d in range(min(number, limit), 0, -1) if number % d == 0)
    return largest if 2 * largest > limit or largest == number else limit


def _split(x: jax.Array, steps: int, size: int) -> jax.Array:
    blocks = x[:, : steps * size].reshape(x.shape[0], steps, size, *x.shape[2:])
    return blocks.swapaxes(0, 1)


def _join(x: jax.Array) -> jax.Array:
    steps, b, size = x.shape[:3]
    return x.swapaxes(0, 1).reshape(b, steps * size, *x.shape[3:])
