"""Convolutions with zero padding that keep the image's size. Kernels are `kh kw in out`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from armoe_jax.ops.platform import materialise


def conv2d(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c o"], bias: Float[Array, " o"]
) -> Float[Array, "b h w o"]:
    """Cross-correlation with an odd-sized kernel, in the kernel's precision."""
    y = jax.lax.conv_general_dilated(
        x.astype(kernel.dtype),
        kernel,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y + bias.astype(y.dtype).reshape(1, 1, 1, -1)


def depthwise_conv3x3(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 1 c"], bias: Float[Array, " c"]
) -> Float[Array, "b h w c"]:
    """Depthwise 3x3 cross-correlation as nine shifted multiply-adds.

    Grouped convolutions are slow on CPU, and this form fuses on every platform.
    """
    _, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = materialise(jnp.concatenate([kernel.reshape(9, -1), bias[None, :]]))
    total = taps[9].reshape(1, 1, 1, -1)
    for i in range(3):
        for j in range(3):
            tap = taps[3 * i + j].reshape(1, 1, 1, -1)
            total = total + padded[:, i : i + h, j : j + w, :] * tap
    return total
