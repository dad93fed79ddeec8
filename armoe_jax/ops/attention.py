"""Multi-head attention inside windows."""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int, PRNGKeyArray

from armoe_jax.ops import windows
from armoe_jax.ops.precision import wide

SEPARATE_REGIONS = -100.0
"""Added to the logits of tokens from different regions of a shifted image; finite, as released."""

BLOCK_ELEMENTS = 1 << 20
"""Attention weights computed at a time in the backward pass: what stays in a CPU's cache."""


def attend_in_windows(
    qkv: Float[Array, "b h w three_c"],
    bias: Float[Array, "m n n"],
    window: tuple[int, int],
    *,
    scale: float,
    shift: bool,
    drop: tuple[PRNGKeyArray, float] | None = None,
) -> Float[Array, "b h w c"]:
    """Multi-head attention in windows of an image.

    Args:
        qkv: Queries, keys and values, one after the other on the channel axis; the sides are
            multiples of the window's.
        bias: Position bias of each head.
        window: Window height and width.
        scale: Factor of the logits.
        shift: Moves the windows by half their size, cyclically, and keeps apart what the image's
            border separates.
        drop: Key and rate of dropout on the probabilities.
    """
    b, height, width, three_c = qkv.shape
    m, n, _ = bias.shape
    by = (window[0] // 2, window[1] // 2) if shift else (0, 0)
    x = windows.partition(windows.roll(qkv, by), window)
    x = x.reshape(-1, n, 3, m, three_c // (3 * m)).transpose(2, 0, 3, 1, 4)
    labels = None
    if shift:
        # b may be symbolic (export), which NumPy cannot tile by.
        labels = jnp.tile(jnp.asarray(windows.region_labels(height, width, window)), (b, 1))
    if drop is None:
        out = window_attention(x[0] * scale, x[1], x[2], bias, labels)
    else:
        out = _with_dropout(x[0] * scale, x[1], x[2], bias, labels, *drop)
    out = out.swapaxes(1, 2).reshape(b, -1, n, three_c // 3)
    return windows.roll(windows.merge(out, window, height, width), (-by[0], -by[1]))


@jax.custom_vjp
def window_attention(
    q: Float[Array, "g m n d"],
    k: Float[Array, "g m n d"],
    v: Float[Array, "g m n d"],
    bias: Float[Array, "m n n"],
    labels: Int[Array, "g n"] | None,
) -> Float[Array, "g m n d"]:
    """Attention of every token to the tokens of its window; g runs over windows.

    The backward pass recomputes the attention weights, a few windows at a time, so that they are
    never stored for all windows.

    Args:
        q: Queries, already scaled.
        k: Keys.
        v: Values.
        bias: Position bias, added to the logits.
        labels: Region of each token; pairs with different labels are (nearly) cut off. None where
            all tokens of a window belong together.
    """
    return _forward(q, k, v, bias, labels)[0]


def _logits(
    q: Float[Array, "g m n d"],
    k: Float[Array, "g m n d"],
    bias: Float[Array, "m n n"],
    labels: Int[Array, "g n"] | None,
) -> Float[Array, "g m n n"]:
    logits = jnp.einsum("gmid,gmjd->gmij", q, k, preferred_element_type=wide(q.dtype))
    logits = logits + bias[None]
    if labels is None:
        return logits
    apart = labels[:, :, None] != labels[:, None, :]
    return logits + jnp.where(apart, SEPARATE_REGIONS, 0.0)[:, None]


def _forward(
    q: Float[Array, "g m n d"],
    k: Float[Array, "g m n d"],
    v: Float[Array, "g m n d"],
    bias: Float[Array, "m n n"],
    labels: Int[Array, "g n"] | None,
) -> tuple[Float[Array, "g m n d"], Float[Array, "g m n 1"]]:
    """Returns the output and the logarithm of the softmax's denominator."""
    logits = _logits(q, k, bias, labels)
    largest = jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
    weights = jnp.exp(logits - largest)
    total = weights.sum(axis=-1, keepdims=True)
    # Dividing after the product touches d numbers a token instead of n.
    out = jnp.einsum(
        "gmij,gmjd->gmid", weights.astype(v.dtype), v, preferred_element_type=wide(v.dtype)
    )
    return (out / total).astype(q.dtype), jnp.log(total) + largest


def _attention_fwd(q, k, v, bias, labels):
    out, log_total = _forward(q, k, v, bias, labels)
    out, log_total = checkpoint_name(out, "attention"), checkpoint_name(log_total, "attention")
    return out, (q, k, v, bias, labels, out, log_total)


def _attention_bwd(residuals, d_out):
    q, k, v, bias, labels, out, log_total = residuals
    groups, m, n, _ = q.shape
    precise = wide(q.dtype)
    delta = jnp.sum(d_out.astype(precise) * out.astype(precise), axis=-1, keepdims=True)
    block = _largest_divisor(groups, max(1, BLOCK_ELEMENTS // (m * n * n)))
    xs = jax.tree.map(
        lambda a: a.reshape(groups // block, block, *a.shape[1:]),
        (q, k, v, labels, log_total, delta, d_out),
    )
    step = functools.partial(_block_bwd, bias)
    d_bias, (dq, dk, dv) = jax.lax.scan(step, jnp.zeros_like(bias), xs)
    dq = dq.reshape(q.shape)
    dk, dv = (a.reshape(groups, m, -1, n).swapaxes(2, 3) for a in (dk, dv))
    return dq, dk, dv, d_bias, None


def _block_bwd(bias, d_bias, block):
    """Gradients for some windows: dq as "g m n d", dk and dv as "g m d n".

    With d first those two products run up to five times faster on CPU. Transposing them here would
    make XLA fold the transposition into the product, hence outside the scan.
    """
    q, k, v, labels, log_total, delta, d_out = block
    product = functools.partial(jnp.einsum, preferred_element_type=wide(q.dtype))
    p = jnp.exp(_logits(q, k, bias, labels) - log_total)
    dv = product("gmid,gmij->gmdj", d_out, p.astype(d_out.dtype))
    dp = product("gmid,gmjd->gmij", d_out, v)
    ds = p * (dp - delta)
    narrow = ds.astype(q.dtype)
    dq = product("gmij,gmjd->gmid", narrow, k)
    dk = product("gmid,gmij->gmdj", q, narrow)
    gradients = dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype)
    # Adding slices instead of reducing an axis: XLA's CPU reduction is ten times slower here.
    return functools.reduce(jnp.add, ds, d_bias), gradients


window_attention.defvjp(_attention_fwd, _attention_bwd)


def _with_dropout(
    q: Float[Array, "g m n d"],
    k: Float[Array, "g m n d"],
    v: Float[Array, "g m n d"],
    bias: Float[Array, "m n n"],
    labels: Int[Array, "g n"] | None,
    key: PRNGKeyArray,
    rate: float,
) -> Float[Array, "g m n d"]:
    probabilities = jax.nn.softmax(_logits(q, k, bias, labels))
    kept = jax.random.bernoulli(key, 1 - rate, probabilities.shape)
    return jnp.einsum("gmij,gmjd->gmid", jnp.where(kept, probabilities / (1 - rate), 0), v)


def _largest_divisor(number: int, limit: int) -> int:
    return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)
