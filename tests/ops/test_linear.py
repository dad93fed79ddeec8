"""Linear layers by hand."""

import jax.numpy as jnp
import numpy as np

from armoe_jax.ops.linear import dense


def test_dense_by_hand():
    x = jnp.asarray([[[1.0, 2.0]], [[3.0, 4.0]]])
    kernel = jnp.asarray([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]])
    # 1 * 2 - 2 * 1 = 0 and 3 * 2 - 4 = 2 in the last column.
    expected = [[[1, 2, 0]], [[3, 4, 2]]]
    np.testing.assert_array_equal(dense(x, kernel, None, jnp.dtype("float32")), expected)
    biased = dense(x, kernel, jnp.asarray([1.0, 1.0, 1.0]), jnp.dtype("float32"))
    np.testing.assert_array_equal(biased, np.add(expected, 1))


def test_dense_of_no_channels_is_its_bias():
    # So it is in the position bias network below 32 channels, which is 0 wide.
    out = dense(
        jnp.ones((2, 3, 0)), jnp.ones((0, 2)), jnp.asarray([1.0, 2.0]), jnp.dtype("float32")
    )
    np.testing.assert_array_equal(out, np.broadcast_to([1.0, 2.0], (2, 3, 2)))
    assert dense(jnp.ones((3, 2)), jnp.ones((2, 0)), None, jnp.dtype("float32")).shape == (3, 0)


def test_dense_rounds_operands_only():
    # 1 + 2^-9 rounds to 1 in bfloat16; 257 copies of 1 sum to 257, which bfloat16 cannot hold.
    x = jnp.full((1, 257), 1 + 2.0**-9)
    out = dense(x, jnp.ones((257, 1)), None, jnp.dtype("bfloat16"))
    assert out.dtype == jnp.float32
    np.testing.assert_array_equal(out, [[257.0]])
