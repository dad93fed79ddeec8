"""Window attention against a literal float64 restatement, for windows of many shapes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.models.attention import PositionBias, WindowAttention

C, HEADS = 64, 4


def depthwise(x, kernel, bias):
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = np.zeros_like(x) + bias
    for i in range(3):
        for j in range(3):
            out += padded[:, i : i + x.shape[1], j : j + x.shape[2]] * kernel[i, j, 0]
    return out


def one_window(q, k, v, bias, regions):
    out = np.empty_like(v)
    d = q.shape[-1] // bias.shape[0]
    for head, head_bias in enumerate(bias):
        part = slice(head * d, (head + 1) * d)
        logits = q[:, part] @ k[:, part].T * d**-0.5 + head_bias
        logits -= 100.0 * (regions[:, None] != regions[None, :])
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        out[:, part] = weights / weights.sum(axis=1, keepdims=True) @ v[:, part]
    return out


def branch(q, k, v, bias, window, shift):
    """Attention of one orientation on padded images, window by window."""
    _, height, width, _ = q.shape
    (h, w), (dy, dx) = window, (window[0] // 2, window[1] // 2) if shift else (0, 0)
    out = np.empty_like(v)
    for top in range(0, height, h):
        for left in range(0, width, w):
            # Position (y, x) of the shifted image shows pixel (y + dy, x + dx), cyclically.
            y, x = (a.ravel() for a in np.mgrid[top : top + h, left : left + w])
            regions = np.zeros(len(y), int)
            if shift:
                # Regions: 0 before the last window, 1 its first half, 2 what wrapped around.
                row = (y >= height - h).astype(int) + (y >= height - h // 2)
                column = (x >= width - w).astype(int) + (x >= width - w // 2)
                regions = 3 * row + column
            at = (y + dy) % height, (x + dx) % width
            for image in range(q.shape[0]):
                tokens = (a[image][at] for a in (q, k, v))
                out[image][at] = one_window(*tokens, bias, regions)
    return out


def literal(params, biases, x, window, shift):
    _, height, width, _ = x.shape
    qkv = x @ params["qkv"]["kernel"] + params["qkv"]["bias"]
    local = depthwise(qkv[..., 2 * C :], **params["local_conv"])
    side = math.lcm(*window)
    padding = ((0, 0), (0, -height % side), (0, -width % side), (0, 0))
    q, k, v = np.split(np.pad(qkv, padding), 3, axis=-1)
    halves = []
    for i, bias in enumerate(biases):
        part = slice(i * C // 2, (i + 1) * C // 2)
        orientation = window if i == 0 else window[::-1]
        halves.append(branch(q[..., part], k[..., part], v[..., part], bias, orientation, shift))
    out = np.concatenate(halves, axis=-1)[:, :height, :width] + local
    return out @ params["proj"]["kernel"] + params["proj"]["bias"]


@pytest.mark.parametrize("window", [(4, 4), (8, 4), (6, 4), (1, 2)])
def test_equals_the_literal_form(window):
    attention = WindowAttention(HEADS, window)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 9, 10, C))
    shapes = jax.eval_shape(attention.init, jax.random.key(0), jnp.asarray(x, jnp.float32), 0)
    params = jax.tree.map(
        lambda a: jnp.asarray(rng.normal(0, 0.3, a.shape), jnp.float32), shapes["params"]
    )
    biases = [
        jax.jit(PositionBias(w, C // 32, HEADS // 2).apply)({"params": params[f"pos_bias_{i}"]})
        for i, w in enumerate((window, window[::-1]))
    ]
    apply = jax.jit(attention.apply)
    wide = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    for shift in (0, 1):
        actual = apply({"params": params}, jnp.asarray(x, jnp.float32), jnp.int32(shift))
        exact = literal(wide, [np.asarray(b, np.float64) for b in biases], x, window, shift)
        np.testing.assert_allclose(actual, exact, rtol=0, atol=1e-5 * np.abs(exact).max())


def test_qk_scale_replaces_the_default():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 4, C)), jnp.float32)
    init = jax.jit(WindowAttention(HEADS, (2, 2)).init)
    params = init(jax.random.key(0), x, jnp.int32(0))

    def run(scale):
        # Large inputs, so that the logits matter.
        module = WindowAttention(HEADS, (2, 2), qk_scale=scale)
        return jax.jit(module.apply)(params, 30 * x, jnp.int32(0))

    # Width of a head: 32 channels of an orientation in 2 heads, 16 ** -0.5 = 1/4.
    default = run(None)
    np.testing.assert_array_equal(run(0.25), default)
    assert np.abs(run(1.0) - default).max() > 1e-4
