"""Window attention against a plain softmax, its gradients, and the released results."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.ops import attention
from armoe_jax.training import sharding

IMAGES, WINDOWS, HEADS, TOKENS, WIDTH = 2, 3, 2, 8, 4


def plain(q, k, v, bias, labels):
    """Softmax attention as in a textbook, with mask -100, differentiated by JAX."""
    logits = jnp.einsum("bwmid,bwmjd->bwmij", q, k) + bias[None, None]
    if labels is not None:
        same = labels[:, None, :, None] == labels[:, None, None, :]
        logits = logits + jnp.where(same, 0.0, -100.0)[None]
    return jnp.einsum("bwmij,bwmjd->bwmid", jax.nn.softmax(logits), v)


@pytest.fixture(scope="module")
def operands():
    rng = np.random.default_rng(0)
    shape = (IMAGES, WINDOWS, HEADS, TOKENS, WIDTH)
    q, k, v, cotangent = (rng.normal(size=shape) for _ in range(4))
    bias = rng.normal(size=(HEADS, TOKENS, TOKENS))
    labels = rng.integers(0, 3, (WINDOWS, TOKENS)).astype(np.int32)
    return (q, k, v, bias), labels, cotangent


def ours(q, k, v, bias, labels):
    """Window attention, with the mask as channels where there are labels."""
    if labels is not None:
        q, k = attention._keep_apart(q, k, np.eye(3)[labels])
    return attention.window_attention(q, k, v, bias)


def assert_equal_to_plain(operands, masked):
    """Compares outputs and gradients in float64, where a wrong formula cannot hide in rounding."""
    arguments, labels, cotangent = operands
    labels = labels if masked else None
    with jax.enable_x64(True):
        arguments = [jnp.asarray(a) for a in arguments]
        pulled = []
        for function in (ours, plain):
            compiled = jax.jit(functools.partial(function, labels=labels))
            out, pull = jax.vjp(compiled, *arguments)
            pulled.append((function(*arguments, labels=labels), out, *pull(jnp.asarray(cotangent))))
        for actual, expected in zip(*pulled, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("masked", "windows_at_a_time"), [(False, 1), (True, 4), (False, 5), (True, 100)]
)
def test_gradients_equal_those_of_plain_softmax(operands, masked, windows_at_a_time, monkeypatch):
    # 4 does not divide the 6 windows: blocks of 3 are used; with 5, one window is left over.
    monkeypatch.setattr(attention, "CPU_BLOCK", windows_at_a_time * HEADS * TOKENS * TOKENS)
    assert_equal_to_plain(operands, masked)


def test_images_on_an_axis_of_their_own(operands, monkeypatch):
    """As where devices divide them: blocks take some windows of every image."""
    monkeypatch.setattr(attention, "CPU_BLOCK", IMAGES * 2 * HEADS * TOKENS * TOKENS)
    monkeypatch.setattr(attention, "num_devices", lambda: 2)
    assert_equal_to_plain(operands, masked=True)


def test_any_number_of_windows_at_a_time_gives_the_same(operands):
    """GPU and TPU serve more of them than CPU does."""
    arguments, _, cotangent = operands
    q, k, v, bias, cotangent = (jnp.asarray(a, jnp.float32) for a in (*arguments, cotangent))
    out, log_total = attention._attend(q, k, v, bias)
    arrays = (q, k, v, log_total, (cotangent * out).sum(-1, keepdims=True), cotangent)
    whole, by_one = (jax.tree.leaves(attention._backward(bias, arrays, limit=n)) for n in (99, 1))
    for actual, expected in zip(whole, by_one, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def flops_of_gradient(num_devices):
    """Operations of one device; those of a loop's body count once."""
    mesh = sharding.make_mesh(num_devices)
    split, whole = sharding.batch_sharding(mesh), sharding.replicated(mesh)
    arrays = [jax.ShapeDtypeStruct((8, 4, 1, 64, 16), jnp.float32, sharding=split)] * 3
    bias = jax.ShapeDtypeStruct((1, 64, 64), jnp.float32, sharding=whole)
    loss = jax.grad(lambda *a: (attention.window_attention(*a) ** 2).sum(), argnums=(0, 1, 2))
    with jax.set_mesh(mesh):
        compiled: Any = jax.jit(loss).lower(*arrays, bias).compile()
    return compiled.cost_analysis()["flops"]


def test_devices_share_every_block(monkeypatch):
    """Blocks are of windows, not of images: else every device would do the work of all."""
    monkeypatch.setattr(attention, "CPU_BLOCK", 8 * 64 * 64)  # 4 blocks of 8 windows
    assert flops_of_gradient(8) < 1.25 * flops_of_gradient(1) / 8


def test_large_logits_do_not_overflow(operands):
    (q, k, v, bias), labels, _ = operands
    q, k, v, bias = (jnp.asarray(a, jnp.float32) for a in (100 * q, 10 * k, v, bias))
    gradient = jax.grad(lambda q: ours(q, k, v, bias, labels).sum())(q)
    out = ours(q, k, v, bias, labels)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(out, plain(q, k, v, bias, labels), rtol=1e-4, atol=1e-4)


def test_one_token_takes_its_own_value():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 6)), jnp.float32)
    bias = jnp.full((1, 1, 1), 7.0)
    out = attention.attend_in_windows(x, bias, (1, 1), scale=1.0, shift=False)
    np.testing.assert_allclose(out, x[..., 4:], rtol=1e-6)


def test_dropout_drops_probabilities_and_scales_the_rest():
    # Values are the identity, so the output is the probabilities themselves.
    n, rate = 16, 0.25
    rng = np.random.default_rng(0)
    q, k = (jnp.asarray(rng.normal(size=(2, 4, 1, n, n)), jnp.float32) for _ in range(2))
    v = jnp.broadcast_to(jnp.eye(n), (2, 4, 1, n, n))
    bias = jnp.zeros((1, n, n))
    kept = attention.window_attention(q, k, v, bias)
    out = attention._with_dropout(q, k, v, bias, jax.random.key(0), rate)
    dropped = np.asarray(out) == 0
    np.testing.assert_allclose(
        np.where(dropped, 0, out), np.where(dropped, 0, kept / 0.75), rtol=1e-4, atol=1e-6
    )
    # 2048 draws with probability 1/4: standard deviation sqrt(0.25 * 0.75 / 2048) = 0.0096.
    assert abs(dropped.mean() - rate) < 5 * 0.0096


@pytest.mark.parity
@pytest.mark.parametrize("branch", [0, 1])
@pytest.mark.parametrize("shift", [False, True])
def test_released_window_attention(components, tolerance, branch, shift):
    q, k, v = (a.reshape(2, 16, 16, 16) for a in components[f"wa{branch}/qkv"])
    window, by = [((4, 8), (2, 4)), ((8, 4), (4, 2))][branch]
    qkv = np.concatenate([q, k, v], axis=-1)
    golden = components[f"wa{branch}/out_mask" if shift else f"wa{branch}/out_nomask"]
    if shift:
        # The reference's input is rolled already; ours rolls there and back.
        qkv, golden = np.roll(qkv, by, (1, 2)), np.roll(golden, by, (1, 2))
    out = attention.attend_in_windows(
        jnp.asarray(qkv),
        jnp.asarray(components[f"pos{branch}/bias"]),
        window,
        scale=8**-0.5,
        shift=shift,
    )
    atol = tolerance(f"wa{branch}/out_mask" if shift else f"wa{branch}/out_nomask")
    np.testing.assert_allclose(out, golden, rtol=0, atol=atol)
