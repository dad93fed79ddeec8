"""Loops in blocks against one step for everything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.ops.blocks import block_size, scan_in_blocks


@pytest.mark.parametrize(
    ("number", "limit", "size"),
    [
        (12, 5, 4),  # a divisor of more than half the limit
        (12, 100, 12),
        (7, 5, 5),  # 7 is prime: 5 and a remainder of 2
        (14, 5, 5),  # the divisor 2 is less than half of 5
        (9, 1, 1),
        (1, 8, 1),
    ],
)
def test_block_size_by_hand(number, limit, size):
    assert block_size(number, limit) == size


@pytest.mark.parametrize("limit", [1, 3, 4, 7, 100])
def test_blocks_are_served_in_order_and_joined(limit):
    x = jnp.asarray(np.random.default_rng(0).integers(0, 9, (2, 7, 3)), jnp.float32)

    def step(carry, block):
        # The order matters: the carry is not a mere sum.
        return 2 * carry + block["x"].sum(axis=1), [block["x"] + 1, block["x"].sum(axis=-1)]

    carry, (plus_one, sums) = jax.jit(
        lambda x: scan_in_blocks(step, jnp.zeros((2, 3)), {"x": x}, limit)
    )(x)
    np.testing.assert_array_equal(plus_one, x + 1)
    np.testing.assert_array_equal(sums, x.sum(-1))
    expected = np.zeros((2, 3))
    size = block_size(7, limit)
    for start in range(0, 7, size):
        expected = 2 * expected + np.asarray(x)[:, start : start + size].sum(axis=1)
    np.testing.assert_array_equal(carry, expected)
