"""Spatially gated feed-forward network (SGFN)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from armoe_jax.models.layers import Dense, DepthwiseConv, LayerNorm
from armoe_jax.ops.activation import gelu


class SpatialGateFFN(nn.Module):
    """Linear, GELU, one half gated by the depthwise-filtered other half, linear.

    Source: architecture.md section 4. The released form never gets a dropout rate.

    Attributes:
        hidden_dim: Width between the two linear layers; even.
        dtype: Precision of matrix operands.
    """

    hidden_dim: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns features of the same shape."""
        hidden = gelu(Dense(self.hidden_dim, dtype=self.dtype, name="fc1")(x))
        value, gate = jnp.split(hidden, 2, axis=-1)
        gate = DepthwiseConv(name="conv")(LayerNorm(name="norm")(gate))
        return Dense(x.shape[-1], dtype=self.dtype, name="fc2")(value * gate)
