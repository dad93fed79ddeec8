"""Soft thresholding of coefficients."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def shrink(x: Float[Array, "..."], threshold: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns x moved towards 0 by a threshold, and 0 where it is smaller than that.

    The gradient is written by hand: XLA's stores the clipped values and sums twice.

    Args:
        x: Coefficients.
        threshold: At least 0; as many axes, of length 1 where coefficients share one.
    """
    return x - jnp.clip(x, -threshold, threshold)


def _shrink_fwd(x, threshold):
    return shrink(x, threshold), (x, threshold)


def _shrink_bwd(residuals, dy):
    x, threshold = residuals
    passed = jnp.where(abs(x) > threshold, dy, 0.0)
    shared = tuple(i for i, length in enumerate(threshold.shape) if length == 1)
    return passed, -jnp.sum(jnp.sign(x) * passed, axis=shared, keepdims=True)


shrink.defvjp(_shrink_fwd, _shrink_bwd)
