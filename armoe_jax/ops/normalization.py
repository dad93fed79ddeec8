"""Normalisation over channels and over a batch, always computed in at least float32."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from armoe_jax.ops.precision import wide

EPSILON = 1e-5
"""PyTorch's default, for both kinds."""


def layer_norm(
    x: Float[Array, "*lead c"], scale: Float[Array, " c"], bias: Float[Array, " c"]
) -> Float[Array, "*lead c"]:
    """Normalises the last axis to mean 0 and (biased) variance 1, then scales and shifts."""
    dtype = x.dtype
    x = x.astype(wide(x.dtype))
    mean = jnp.mean(x, axis=-1, keepdims=True)
    centred = x - mean
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + EPSILON) * _like(scale, x) + _like(bias, x)).astype(
        dtype
    )


def batch_norm(
    x: Float[Array, "b c"],
    mean: Float[Array, " c"],
    variance: Float[Array, " c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
) -> Float[Array, "b c"]:
    """Normalises each channel by the given statistics, then scales and shifts."""
    return (x - _like(mean, x)) * _like(jax.lax.rsqrt(variance + EPSILON) * scale, x) + _like(
        bias, x
    )


def _like(v: Float[Array, " c"], x: Float[Array, "*lead c"]) -> Float[Array, "*ones c"]:
    return v.reshape((1,) * (x.ndim - 1) + v.shape)
