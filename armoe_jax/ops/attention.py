"""Multi-head attention inside windows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, PRNGKeyArray

from armoe_jax.ops import windows
from armoe_jax.ops.blocks import scan_in_blocks
from armoe_jax.ops.platform import num_devices
from armoe_jax.ops.precision import wide

SEPARATE_REGIONS = -100.0
"""Added to the logits of tokens of different regions of a shifted image; finite, as released."""

CPU_BLOCK = 1 << 20
"""Attention weights computed at a time on CPU: what stays in its cache."""

BLOCK = 1 << 26
"""The same elsewhere: a bound on memory."""


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
    per_image = (height // window[0]) * (width // window[1])
    x = x.reshape(b, per_image, n, 3, m, three_c // (3 * m)).transpose(3, 0, 1, 4, 2, 5)
    q, k, v = x[0] * scale, x[1], x[2]
    if shift:
        q, k = _keep_apart(q, k, windows.regions(height, width, window))
    out = window_attention(q, k, v, bias) if drop is None else _with_dropout(q, k, v, bias, *drop)
    out = out.swapaxes(2, 3).reshape(b, per_image, n, three_c // 3)
    return windows.roll(windows.merge(out, window, height, width), (-by[0], -by[1]))


def _keep_apart(
    q: Float[Array, "b w m n d"],
    k: Float[Array, "b w m n d"],
    regions: Float[np.ndarray, "w n r"],
) -> tuple[Float[Array, "b w m n d_plus_r"], Float[Array, "b w m n d_plus_r"]]:
    """Appends channels that add SEPARATE_REGIONS to the logits of tokens of different regions.

    A mask of its own costs more time than the products. These add exactly 0 within a region.
    """
    b, w, m, n, _ = q.shape

    def append(x: Float[Array, "b w m n d"], channels: Float[np.ndarray, "w n r"]) -> Array:
        added = jnp.asarray(channels, x.dtype)[None, :, None]
        added = jnp.broadcast_to(added, (b, w, m, n, channels.shape[-1]))
        return jnp.concatenate([x, added], axis=-1)

    return append(q, -SEPARATE_REGIONS * regions), append(k, regions - 1)


@jax.custom_vjp
def window_attention(
    q: Float[Array, "b w m n c"],
    k: Float[Array, "b w m n c"],
    v: Float[Array, "b w m n d"],
    bias: Float[Array, "m n n"],
) -> Float[Array, "b w m n d"]:
    """Attention of every token to the tokens of its window.

    For gradients, windows are served some at a time and the backward pass recomputes the attention
    weights: those of all windows are never stored.

    Args:
        q: Queries, already scaled; w runs over the windows of an image, m over heads.
        k: Keys.
        v: Values.
        bias: Position bias, added to the logits.
    """
    return _attend(q, k, v, bias)[0]


def _attend(
    q: Float[Array, "b w m n c"],
    k: Float[Array, "b w m n c"],
    v: Float[Array, "b w m n d"],
    bias: Float[Array, "m n n"],
) -> tuple[Float[Array, "b w m n d"], Float[Array, "b w m n 1"]]:
    """Returns the output and the logarithm of the softmax's denominator."""
    logits = _logits(q, k, bias)
    largest = jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
    weights = jnp.exp(logits - largest)
    total = weights.sum(axis=-1, keepdims=True)
    # Dividing after the product touches d numbers a token instead of n.
    out = jnp.einsum(
        "bwmij,bwmjd->bwmid", weights.astype(v.dtype), v, preferred_element_type=wide(v.dtype)
    )
    return (out / total).astype(q.dtype), jnp.log(total) + largest


def _logits(
    q: Float[Array, "b w m n c"], k: Float[Array, "b w m n c"], bias: Float[Array, "m n n"]
) -> Float[Array, "b w m n n"]:
    product = jnp.einsum("bwmid,bwmjd->bwmij", q, k, preferred_element_type=wide(q.dtype))
    return product + bias[None, None]


def _attention_fwd(q, k, v, bias):
    _, (out, log_total) = _in_blocks(_forward, bias, q, k, v)
    out, log_total = checkpoint_name(out, "attention"), checkpoint_name(log_total, "attention")
    return out, (q, k, v, bias, out, log_total)


def _attention_bwd(residuals, d_out):
    q, k, v, bias, out, log_total = residuals
    precise = wide(q.dtype)
    delta = jnp.sum(d_out.astype(precise) * out.astype(precise), axis=-1, keepdims=True)
    d_bias, (dq, dk, dv) = _in_blocks(_backward, bias, q, k, v, log_total, delta, d_out)
    return dq, dk.swapaxes(3, 4), dv.swapaxes(3, 4), d_bias


window_attention.defvjp(_attention_fwd, _attention_bwd)


def _in_blocks(function, bias, *arrays):
    """Calls function(bias, arrays "b w ...", windows at a time): a total and results "b w ..."."""
    b, w = arrays[0].shape[:2]
    if num_devices() == 1:
        arrays = [a.reshape(1, b * w, *a.shape[2:]) for a in arrays]
    # Else images keep their axis: devices that divide them each take a part of every block.
    images = arrays[0].shape[0]

    def of(elements):
        return functools.partial(function, limit=max(1, elements // (images * bias.size)))

    total, results = jax.lax.platform_dependent(bias, arrays, cpu=of(CPU_BLOCK), default=of(BLOCK))
    return total, [a.reshape(b, w, *a.shape[2:]) for a in results]


def _forward(bias, arrays, *, limit):
    """Returns the results of `_attend`."""

    def step(_, block):
        q, k, v = block
        return None, _attend(q, k, v, bias)

    return scan_in_blocks(step, None, arrays, limit)


def _backward(bias, arrays, *, limit):
    """Returns the gradients of bias "m n n", and of q "b w m n c", k "b w m c n", v "b w m d n".

    With channels first those two products run up to five times faster on CPU. Transposing them
    here would make XLA fold the transposition into the product, hence outside the scan.
    """

    def step(d_bias, block):
        q, k, v, log_total, delta, d_out = block
        product = functools.partial(jnp.einsum, preferred_element_type=wide(q.dtype))
        p = jnp.exp(_logits(q, k, bias) - log_total)
        dv = product("bwmid,bwmij->bwmdj", d_out, p.astype(d_out.dtype))
        dp = product("bwmid,bwmjd->bwmij", d_out, v)
        ds = p * (dp - delta)
        narrow = ds.astype(q.dtype)
        dq = product("bwmij,bwmjd->bwmid", narrow, k)
        dk = product("bwmid,bwmij->bwmdj", q, narrow)
        # A product with ones: XLA's CPU reduction is ten times slower here.
        of_images = jnp.einsum("w,bwmij->bmij", jnp.ones(ds.shape[1], ds.dtype), ds)
        gradients = dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype)
        return d_bias + of_images, gradients

    # By image, so that devices that divide them need not add up in every step.
    d_bias = jnp.zeros((arrays[0].shape[0], *bias.shape), bias.dtype)
    d_bias, gradients = scan_in_blocks(step, d_bias, arrays, limit)
    return d_bias.sum(axis=0), gradients


def _with_dropout(
    q: Float[Array, "b w m n c"],
    k: Float[Array, "b w m n c"],
    v: Float[Array, "b w m n d"],
    bias: Float[Array, "m n n"],
    key: PRNGKeyArray,
    rate: float,
) -> Float[Array, "b w m n d"]:
    probabilities = jax.nn.softmax(_logits(q, k, bias))
    kept = jax.random.bernoulli(key, 1 - rate, probabilities.shape)
    return jnp.einsum("bwmij,bwmjd->bwmid", jnp.where(kept, probabilities / (1 - rate), 0), v)
