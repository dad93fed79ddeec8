"""Multi-head attention inside windows."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from armoe_jax.ops import windows

SEPARATE_REGIONS = -100.0
"""Added to the logits of tokens from different regions of a shifted image; finite, as released."""


def window_attention(
    q: Float[Array, "b windows m n d"],
    k: Float[Array, "b windows m n d"],
    v: Float[Array, "b windows m n d"],
    bias: Float[Array, "m n n"],
    labels: Int[Array, "windows n"] | None,
    drop: Float[Array, "b windows m n n"] | None = None,
) -> Float[Array, "b windows m n d"]:
    """Attention of every token to the tokens of its window.

    Args:
        q: Queries, already scaled.
        k: Keys.
        v: Values.
        bias: Position bias, added to the logits.
        labels: Region of each token; pairs with different labels are (nearly) cut off. None where
            all tokens of a window belong together.
        drop: Multipliers of the probabilities (attention dropout).
    """
    logits = jnp.einsum("bwmid,bwmjd->bwmij", q, k, preferred_element_type=jnp.float32)
    logits = logits + bias[None, None]
    if labels is not None:
        apart = labels[:, :, None] != labels[:, None, :]
        logits = logits + jnp.where(apart, SEPARATE_REGIONS, 0.0)[None, :, None]
    weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True)))
    total = weights.sum(axis=-1, keepdims=True)
    if drop is not None:
        weights = weights * drop
    # Dividing after the product touches d numbers a token instead of n.
    out = jnp.einsum(
        "bwmij,bwmjd->bwmid", weights.astype(v.dtype), v, preferred_element_type=jnp.float32
    )
    return (out / total).astype(q.dtype)


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
    labels = jnp.asarray(windows.region_labels(height, width, window)) if shift else None
    x = windows.partition(windows.roll(qkv, by), window)
    x = x.reshape(b, -1, n, 3, m, three_c // (3 * m)).transpose(3, 0, 1, 4, 2, 5)
    multipliers = None
    if drop is not None:
        key, rate = drop
        kept = jax.random.bernoulli(key, 1 - rate, (*x.shape[1:-1], n))
        multipliers = kept / (1 - rate)
    out = window_attention(x[0] * scale, x[1], x[2], bias, labels, multipliers)
    out = out.swapaxes(2, 3).reshape(b, -1, n, three_c // 3)
    return windows.roll(windows.merge(out, window, height, width), (-by[0], -by[1]))
