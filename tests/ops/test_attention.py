"""Window attention against a plain softmax, its gradients, and the released results."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.ops import attention

GROUPS, HEADS, TOKENS, WIDTH = 6, 2, 8, 4


def plain(q, k, v, bias, labels):
    """Softmax attention as in a textbook, with mask -100, differentiated by JAX."""
    logits = jnp.einsum("gmid,gmjd->gmij", q, k) + bias[None]
    if labels is not None:
        same = labels[:, None, :, None] == labels[:, None, None, :]
        logits = logits + jnp.where(same, 0.0, -100.0)
    return jnp.einsum("gmij,gmjd->gmid", jax.nn.softmax(logits), v)


@pytest.fixture(scope="module")
def operands():
    rng = np.random.default_rng(0)
    shape = (GROUPS, HEADS, TOKENS, WIDTH)
    q, k, v, cotangent = (rng.normal(size=shape) for _ in range(4))
    bias = rng.normal(size=(HEADS, TOKENS, TOKENS))
    labels = rng.integers(0, 3, (GROUPS, TOKENS)).astype(np.int32)
    return (q, k, v, bias), labels, cotangent


@pytest.mark.parametrize(("masked", "windows_at_a_time"), [(False, 1), (True, 4), (True, 100)])
def test_gradients_equal_those_of_plain_softmax(operands, masked, windows_at_a_time, monkeypatch):
    # 4 does not divide the 6 windows: blocks of 3 are used.
    limit = windows_at_a_time * HEADS * TOKENS * TOKENS
    monkeypatch.setattr(attention, "BLOCK_ELEMENTS", limit)
    arguments, labels, cotangent = operands
    # In float64, where a wrong formula cannot hide behind rounding.
    with jax.enable_x64(True):
        arguments = [jnp.asarray(a) for a in arguments]
        labels = jnp.asarray(labels) if masked else None
        pulled = []
        for function in (attention.window_attention, plain):
            out, pull = jax.vjp(jax.jit(lambda *a, f=function: f(*a, labels)), *arguments)
            pulled.append((out, *pull(jnp.asarray(cotangent))))
        for actual, expected in zip(*pulled, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def test_large_logits_do_not_overflow(operands):
    (q, k, v, bias), labels, _ = operands
    q, k, v, bias = (jnp.asarray(a, jnp.float32) for a in (100 * q, 10 * k, v, bias))
    labels = jnp.asarray(labels)
    gradient = jax.grad(lambda q: attention.window_attention(q, k, v, bias, labels).sum())(q)
    out = attention.window_attention(q, k, v, bias, labels)
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
    q, k = (jnp.asarray(rng.normal(size=(8, 1, n, n)), jnp.float32) for _ in range(2))
    v = jnp.broadcast_to(jnp.eye(n), (8, 1, n, n))
    bias = jnp.zeros((1, n, n))
    kept = attention.window_attention(q, k, v, bias, None)
    out = attention._with_dropout(q, k, v, bias, None, jax.random.key(0), rate)
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
