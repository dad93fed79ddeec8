"""Layer and batch normalization by hand."""

import jax.numpy as jnp
import numpy as np

from armoe_jax.ops.normalization import batch_norm, layer_norm


def test_layer_norm_by_hand():
    # 1, 3: mean 2, biased variance 1; (x - 2) / sqrt(1 + 1e-5) = -+0.999995.
    x = jnp.asarray([[1.0, 3.0]])
    out = layer_norm(x, jnp.asarray([2.0, 4.0]), jnp.asarray([0.5, -0.5]))
    np.testing.assert_allclose(out, [[0.5 - 2 * 0.999995, -0.5 + 4 * 0.999995]], rtol=1e-6)


def test_layer_norm_of_one_channel_is_its_bias():
    x = jnp.asarray([[3.0], [-7.0]])
    out = layer_norm(x, jnp.asarray([5.0]), jnp.asarray([0.25]))
    np.testing.assert_array_equal(out, [[0.25], [0.25]])


def test_layer_norm_keeps_the_type_and_computes_in_float32():
    x = (1000 + jnp.arange(8.0)).reshape(1, 8)
    narrow = layer_norm(x.astype(jnp.bfloat16), jnp.ones(8), jnp.zeros(8))
    assert narrow.dtype == jnp.bfloat16
    # In bfloat16 the steps at 1000 are 4 wide: 1000 .. 1007 become 1000, 1004 and 1008.
    rounded = np.asarray(x.astype(jnp.bfloat16), np.float64)
    expected = (rounded - rounded.mean()) / np.sqrt(rounded.var() + 1e-5)
    np.testing.assert_allclose(np.asarray(narrow, np.float64), expected, rtol=2**-8, atol=1e-2)


def test_batch_norm_by_hand():
    # (5 - 1) / sqrt(4 + 1e-5) * 3 + 2 = 7.9999925; the second channel sits at its mean.
    out = batch_norm(
        jnp.asarray([[5.0, 0.0]]),
        jnp.asarray([1.0, 0.0]),
        jnp.asarray([4.0, 1.0]),
        jnp.asarray([3.0, 1.0]),
        jnp.asarray([2.0, -1.0]),
    )
    np.testing.assert_allclose(out, [[7.9999925, -1.0]], rtol=1e-6)
