"""A last layer that knows how a JPEG file was quantised.

A decoder puts every coefficient at the middle of the interval that its quantised value stands for.
What the network says of it is therefore a distance from that middle, and anything beyond half a
step is known to be wrong. The layer learns, for each frequency, how far to trust the network: it
combines the distance, the distance clipped to the interval and to half of it, and the sign of the
quantised value (originals lie nearer to zero than the middle). It leaves an interval by as much as
the weights that it learnt allow.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from armoe_jax.ops.frames import from_windows, separable_frame, to_windows
from armoe_jax.ops.transforms import dct_basis

BLOCK = 8
"""Side of JPEG's blocks in pixels."""

CLASSES = 3
"""Quantised values 0, +-1 and beyond have weights of their own."""

FEATURES = 4
"""Distance, clipped to half a step, clipped to a quarter, sign."""

MIDDLE = 4.0
"""log2 of the step around which weights may change with the step."""


class IntervalHead(nn.Module):
    """Corrects the luma's DCT coefficients within what the quantiser allows; untrained, nothing."""

    @nn.compact
    def __call__(
        self,
        luma: Float[Array, "b h w"],
        correction: Float[Array, "b h w"],
        steps: Float[Array, "b 64"],
    ) -> Float[Array, "b h w"]:
        """Returns the correction to make instead of the one proposed.

        Args:
            luma: Decoded luma in gray levels, 0 for mid-gray (JPEG's Y - 128), blocks starting at
                the corner; sides are multiples of 8.
            correction: What the network would add to it.
            steps: Quantiser steps of each image's luma, by frequency, row by row; 0 where the file
                is unknown: the correction of such an image comes back as it is.
        """
        _, h, w = luma.shape
        basis = separable_frame(dct_basis(BLOCK)).matrix
        weights = self.param("weights", _trust, (CLASSES, FEATURES, BLOCK**2))
        slopes = self.param("slopes", nn.initializers.zeros, (CLASSES, FEATURES, BLOCK**2))
        step = jnp.maximum(steps, 1.0).T[:, :, None]  # frequency b 1
        coefficients, proposed = (_transform(basis, plane) for plane in (luma, correction))
        quantised = jnp.round(coefficients / step)
        distance = proposed / step
        features = (
            distance,
            jnp.clip(distance, -0.5, 0.5),
            jnp.clip(distance, -0.25, 0.25),
            jnp.sign(quantised),
        )
        kind = jnp.minimum(abs(quantised), CLASSES - 1)
        octave = jnp.log2(step) - MIDDLE
        combined = jnp.zeros_like(distance)
        for k in range(CLASSES):
            trust = [
                weights[k, f, :, None, None] + slopes[k, f, :, None, None] * octave
                for f in range(FEATURES)
            ]
            total = sum(t * feature for t, feature in zip(trust, features, strict=True))
            combined = jnp.where(kind == k, total, combined)
        coefficients = (combined * step).reshape(BLOCK**2, -1)
        back = jnp.matmul(basis.T, coefficients).reshape(*combined.shape, 1)
        known = (steps[:, 0] > 0).reshape(-1, 1, 1)
        return jnp.where(known, from_windows(back, h, w)[..., 0], correction)


def _transform(
    basis: Float[np.ndarray, "f p"], plane: Float[Array, "b h w"]
) -> Float[Array, "f b blocks"]:
    blocks = to_windows(plane[..., None], BLOCK)[..., 0]
    return jnp.matmul(basis, blocks.reshape(blocks.shape[0], -1)).reshape(blocks.shape)


def _trust(key: Array, shape: tuple[int, ...]) -> Array:
    """Weights that pass the distance on."""
    del key
    return jnp.zeros(shape, jnp.float32).at[:, 0].set(1.0)
