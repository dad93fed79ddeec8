"""JPEG's colour transform: full-range BT.601 luma and chroma, as products with constants."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from armoe_jax.ops.luma import LUMA

BLUE_SPAN, RED_SPAN = 2 * (1 - LUMA[2]), 2 * (1 - LUMA[0])
"""What blue (red) minus luma is divided by: Cb (Cr) of colours in [0, 1] is within half of 1."""

RGB_TO_YCBCR = np.array(
    [
        LUMA,
        [-LUMA[0] / BLUE_SPAN, -LUMA[1] / BLUE_SPAN, 0.5],
        [0.5, -LUMA[1] / RED_SPAN, -LUMA[2] / RED_SPAN],
    ]
)
"""Rows Y, Cb, Cr; chroma around 0. Source: ITU-T T.871 (JFIF)."""

YCBCR_TO_RGB = np.linalg.inv(RGB_TO_YCBCR)


def to_planes(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Returns luma (minus one half) and chroma of RGB images in [0, 1]; of gray ones, luma."""
    if x.shape[-1] == 1:
        return x - 0.5
    planes = _product(x, RGB_TO_YCBCR)
    return planes - jnp.asarray([0.5, 0.0, 0.0], x.dtype).reshape(1, 1, 1, 3)


def from_planes(planes: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Returns the images, or differences of images, that luma and chroma around 0 belong to."""
    return planes if planes.shape[-1] == 1 else _product(planes, YCBCR_TO_RGB)


def _product(
    x: Float[Array, "b h w 3"], matrix: Float[np.ndarray, "3 3"]
) -> Float[Array, "b h w 3"]:
    # At full precision: half a gray level of chroma would be lost in TF32.
    return jnp.matmul(x, jnp.asarray(matrix.T, x.dtype), precision="highest")
