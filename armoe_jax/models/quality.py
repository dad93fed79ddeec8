"""Adaptation to the coding quality: what of the features follows it.

An addition to the released network: one that must serve all qualities without knowing which
corrects each of them less. The modulation is that of FiLM (Perez et al. 2018).
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

KNOTS = 6
"""Qualities with a modulation of their own, evenly spaced; in between it is interpolated."""


class Modulation(nn.Module):
    """Scales and shifts each channel by what was learnt for a quality; nothing when untrained.

    Attributes:
        quality_range: Quality of the mildest and of the strongest coding; what lies outside counts
            as the nearer of them.
    """

    quality_range: tuple[float, ...]

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], quality: Float[Array, " b"]
    ) -> Float[Array, "b h w c"]:
        """Returns features of the same shape."""
        c = x.shape[-1]
        table = self.param("table", nn.initializers.zeros, (KNOTS, 2 * c))
        rows = knot_weights(quality, self.quality_range) @ table
        scale, shift = jnp.split(rows.reshape(-1, 1, 1, 2 * c), 2, axis=-1)
        return (x * (1.0 + scale) + shift).astype(x.dtype)


def knot_weights(
    quality: Float[Array, " b"], quality_range: tuple[float, ...]
) -> Float[Array, "b knots"]:
    """Returns each knot's share in qualities: linear between two neighbours, their sum 1."""
    mild, strong = quality_range
    position = jnp.clip((quality - mild) / (strong - mild), 0.0, 1.0) * (KNOTS - 1)
    return jnp.maximum(0.0, 1.0 - abs(position.reshape(-1, 1) - jnp.arange(KNOTS).reshape(1, -1)))
