"""Convolutions with zero padding that keep the image's size. Kernels are `kh kw in out`."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_LAYOUT = ("NHWC", "HWIO", "NHWC")


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
        dimension_numbers=_LAYOUT,
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
    """The same, as convolutions in the one layout for which XLA's CPU compiler has a fast program.

    It brings other layouts into that one outside of loops alone. Milliseconds of one core, for 3x3
    kernels of 32 channels and four images of 64x64:

    | gradient | in this layout | in that of JAX, outside of loops | within `jax.lax.scan` |
    |---|---|---|---|
    | input | 3 | 3 | 128 |
    | kernel | 5.9 | 3.6 | 331 |
    """
    d_x = _plain_conv(dy, kernel[::-1, ::-1].swapaxes(2, 3))
    return d_x, _kernel_gradient(x, dy, kernel.shape[:2])


def _kernel_gradient(
    x: Float[Array, "b h w c"], dy: Float[Array, "b h w o"], size: tuple[int, ...]
) -> Float[Array, "kh kw c o"]:
    """Returns the kernel's gradient: one is seen through the other, images taking channels' place.

    The wider one becomes the kernel, whose channels are the columns of a matrix product.
    """
    if dy.shape[-1] >= x.shape[-1]:
        return _correlate(x, dy, size).transpose(1, 2, 0, 3)
    return _correlate(dy, x, size)[:, ::-1, ::-1].transpose(1, 2, 3, 0)


def _correlate(
    x: Float[Array, "b h w c"], y: Float[Array, "b h w d"], size: tuple[int, ...]
) -> Float[Array, "c kh kw d"]:
    """Returns the sums of products of x, shifted by each tap, and y."""
    return jax.lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        y.transpose(1, 2, 0, 3),
        window_strides=(1, 1),
        padding=[(side // 2, side // 2) for side in size],
        dimension_numbers=_LAYOUT,
    )


def _shifts(x: Float[Array, "b h w c"], size: tuple[int, int]) -> list[Float[Array, "b h w c"]]:
    """Returns what each tap of a kernel sees at every position; zeros outside."""
    (kh, kw), (_, h, w, _) = size, x.shape
    padded = jnp.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    return [padded[:, i : i + h, j : j + w] for i in range(kh) for j in range(kw)]


def depthwise_conv3x3(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 1 c"], bias: Float[Array, " c"]
) -> Float[Array, "b h w c"]:
    """Depthwise 3x3 cross-correlation as nine shifted multiply-adds.

    Grouped convolutions are slow on CPU, and this form fuses on every platform.
    """
    return _depthwise(x, kernel) + bias.reshape(1, 1, 1, -1)


def _shift_and_add(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 1 c"]
) -> Float[Array, "b h w c"]:
    taps = kernel.reshape(9, 1, 1, 1, -1)
    parts = [part * tap for part, tap in zip(_shifts(x, (3, 3)), taps, strict=True)]
    return functools.reduce(jnp.add, parts)


_depthwise = jax.custom_vjp(_shift_and_add)


def _depthwise_fwd(x, kernel):
    return _shift_and_add(x, kernel), (x, kernel)


def _depthwise_bwd(residuals, dy):
    x, kernel = residuals
    dx = _shift_and_add(dy, kernel[::-1, ::-1]).astype(x.dtype)
    d_kernel = jax.lax.platform_dependent(x, dy, cpu=_row_by_row, default=_tap_by_tap)
    return dx, d_kernel.reshape(kernel.shape).astype(kernel.dtype)


_depthwise.defvjp(_depthwise_fwd, _depthwise_bwd)


def _tap_by_tap(x: Float[Array, "b h w c"], dy: Float[Array, "b h w c"]) -> Float[Array, "9 c"]:
    return jnp.stack([jnp.sum(part * dy, axis=(0, 1, 2)) for part in _shifts(x, (3, 3))])


def _row_by_row(x: Float[Array, "b h w c"], dy: Float[Array, "b h w c"]) -> Float[Array, "9 c"]:
    """The same: sums over rows first, as long vectors, which takes XLA's CPU compiler a tenth."""
    b, h, w, c = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(b, h + 2, -1)
    rows = dy.reshape(b, h, -1)

    def add_row(sums, i):
        above_to_below = jax.lax.dynamic_slice_in_dim(padded, i, 3, axis=1)
        row = jax.lax.dynamic_index_in_dim(rows, i, axis=1, keepdims=False)
        taps = [(di, dj * c) for di in range(3) for dj in range(3)]
        products = [above_to_below[:, di, left : left + w * c] * row for di, left in taps]
        return [total + product for total, product in zip(sums, products, strict=True)], None

    zeros = jnp.zeros((b, w * c), jnp.result_type(x, dy))
    sums, _ = jax.lax.scan(add_row, [zeros] * 9, jnp.arange(h))
    return jnp.stack([total.reshape(-1, c).sum(axis=0) for total in sums])
