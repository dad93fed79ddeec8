"""Convolutions with zero padding that keep the image's size. Kernels are `kh kw in out`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def conv2d(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c o"], bias: Float[Array, " o"]
) -> Float[Array, "b h w o"]:
    """Cross-correlation with an odd-sized kernel, in the kernel's precision."""
    y = _conv(x.astype(kernel.dtype), kernel)
    return y + bias.astype(y.dtype).reshape(1, 1, 1, -1)


def _plain_conv(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c o"]
) -> Float[Array, "b h w o"]:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


_conv = jax.custom_vjp(_plain_conv)


def _conv_fwd(x, kernel):
    return _plain_conv(x, kernel), (x, kernel)


def _conv_bwd(residuals, dy):
    return jax.lax.platform_dependent(*residuals, dy, cpu=_cpu_gradients, default=_gradients)


_conv.defvjp(_conv_fwd, _conv_bwd)


def _gradients(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c o"], dy: Float[Array, "b h w o"]
) -> tuple[Float[Array, "b h w c"], Float[Array, "kh kw c o"]]:
    return jax.vjp(_plain_conv, x, kernel)[1](dy)


def _cpu_gradients(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c o"], dy: Float[Array, "b h w o"]
) -> tuple[Float[Array, "b h w c"], Float[Array, "kh kw c o"]]:
    """The same as one product a tap: XLA's CPU convolution is some 30 times slower at it."""
    kh, kw, c, o = kernel.shape
    _, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    rows = dy.reshape(-1, o)
    taps = [
        jnp.matmul(padded[:, i : i + h, j : j + w].reshape(-1, c).T, rows)
        for i in range(kh)
        for j in range(kw)
    ]
    dx = _plain_conv(dy, kernel[::-1, ::-1].swapaxes(2, 3))
    return dx, jnp.stack(taps).reshape(kernel.shape)


def depthwise_conv3x3(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 1 c"], bias: Float[Array, " c"]
) -> Float[Array, "b h w c"]:
    """Depthwise 3x3 cross-correlation as nine shifted multiply-adds.

    Grouped convolutions are slow on CPU, and this form fuses on every platform.
    """
    _, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = bias.reshape(1, 1, 1, -1)
    for i in range(3):
        for j in range(3):
            total = total + padded[:, i : i + h, j : j + w, :] * kernel[None, i, None, j]
    return total
