"""The spatially gated feed-forward network, against its definition in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import erf

from armoe_jax.models.ffn import SpatialGateFFN

CHANNELS, HIDDEN = 3, 8


def variables(seed=0):
    """Random parameters of every kind, biases and scales too."""
    module = SpatialGateFFN(HIDDEN)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 2, 2, CHANNELS)))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes)


def by_definition(x, p):
    hidden = x @ p["fc1"]["kernel"] + p["fc1"]["bias"]
    hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
    value, gate = hidden[..., : HIDDEN // 2], hidden[..., HIDDEN // 2 :]
    gate = (gate - gate.mean(-1, keepdims=True)) / np.sqrt(gate.var(-1, keepdims=True) + 1e-5)
    gate = np.pad(gate * p["norm"]["scale"] + p["norm"]["bias"], ((0, 0), (1, 1), (1, 1), (0, 0)))
    _, height, width, _ = x.shape
    filtered = sum(
        gate[:, row : row + height, column : column + width] * p["conv"]["kernel"][row, column, 0]
        for row in range(3)
        for column in range(3)
    )
    return value * (filtered + p["conv"]["bias"]) @ p["fc2"]["kernel"] + p["fc2"]["bias"]


def test_one_half_gates_the_other():
    x = np.random.default_rng(1).normal(size=(2, 4, 5, CHANNELS))
    made = variables()
    expected = by_definition(x, jax.tree.map(lambda p: np.asarray(p, float), made["params"]))
    got = SpatialGateFFN(HIDDEN).apply(made, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_pixel_reaches_its_eight_neighbours_alone():
    module, made = SpatialGateFFN(HIDDEN), variables()
    x = jnp.zeros((2, 4, 5, CHANNELS))
    changed = np.abs(module.apply(made, x.at[0, 1, 2].set(1.0)) - module.apply(made, x)).max(-1)
    assert (changed[0, :3, 1:4] > 1e-6).all()
    changed[0, :3, 1:4] = 0
    assert (changed == 0).all()
