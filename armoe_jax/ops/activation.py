"""Activation functions that the libraries offer only in another form."""

import math

import jax
from jaxtyping import Array, Float


def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Exact GELU, x * (1 + erf(x / sqrt 2)) / 2, in PyTorch's form.

    jax.nn.gelu computes it from erfc, whose three ranges cost a CPU several passes; the two differ
    by float32 rounding only.
    """
    return 0.5 * x * (1.0 + jax.lax.erf(x * math.sqrt(0.5)))
