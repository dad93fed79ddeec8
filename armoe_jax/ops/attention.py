"""Multi-head attention inside windows."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

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
