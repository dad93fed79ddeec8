"""Activation, norms, linear layers and what adapts them to platforms."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from armoe_jax.ops.activation import gelu
from armoe_jax.ops.linear import dense
from armoe_jax.ops.normalization import batch_norm, layer_norm
from armoe_jax.ops.platform import SMALL, materialise_small
from armoe_jax.ops.precision import wide


def test_gelu_is_the_exact_one():
    x = np.linspace(-6, 6, 241)
    exact = x * (1 + scipy.special.erf(x / np.sqrt(2))) / 2
    # The tanh approximation is off by up to 5e-4; float32 by well under 1e-6.
    np.testing.assert_allclose(gelu(jnp.asarray(x, jnp.float32)), exact, rtol=0, atol=1e-6)


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


def test_materialise_small_is_the_identity_with_the_identitys_gradient():
    rng = np.random.default_rng(0)
    shapes = {"kernel": (3, 3, 1, 5), "bias": (5,), "scalar": (), "empty": (0, 4)}
    tree = {name: jnp.asarray(rng.normal(size=s), jnp.float32) for name, s in shapes.items()}
    # Too large to be handled.
    tree["large"] = jnp.arange(SMALL + 1.0)
    out, pull = jax.vjp(jax.jit(materialise_small), tree)
    jax.tree.map(np.testing.assert_array_equal, out, tree)
    doubled = jax.tree.map(lambda a: 2 * a, tree)
    jax.tree.map(np.testing.assert_array_equal, pull(doubled)[0], doubled)


def test_materialise_small_takes_a_tree_without_small_arrays():
    tree = {"large": jnp.ones(SMALL + 1), "nothing": {}}
    assert materialise_small(tree)["large"] is tree["large"]


def test_wide_widens_bfloat16_only():
    widened = {name: wide(name).name for name in ("bfloat16", "float32", "float64")}
    assert widened == {"bfloat16": "float32", "float32": "float32", "float64": "float64"}
