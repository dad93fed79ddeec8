"""Frequency transforms of images along rows and columns.

Source: architecture.md sections 6, 6.1 and 6.2.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float


class Decay(NamedTuple):
    """The spectrum's weights A[h, w, c] = rows[h, c] * columns[w, c], kept as two factors."""

    rows: Float[Array, "h c"]
    columns: Float[Array, "w c"]


def heat_decay(k: Float[Array, " c"], height: int, width: int) -> Decay:
    """Returns A[h, w, c] = exp(-k[c] * ((pi h / H)^2 + (pi w / W)^2)).

    Args:
        k: Diffusion time of each channel, at least 0.
        height: Number of vertical frequencies H.
        width: Number of horizontal frequencies W.
    """
    return Decay(_axis_decay(k, height), _axis_decay(k, width))


def _axis_decay(k: Float[Array, " c"], size: int) -> Float[Array, "size c"]:
    frequency = np.linspace(0.0, np.pi, size, endpoint=False, dtype=np.float32)
    return jnp.exp(-(frequency**2)[:, None] * k[None, :])


@jax.custom_vjp
def weight_spectrum(
    x: Float[Array, "b h w c"] | Complex[Array, "b h w c"], decay: Decay
) -> Float[Array, "b h w c"] | Complex[Array, "b h w c"]:
    """Multiplies position (h, w, c) by the decay's A[h, w, c]."""
    return x * decay.rows[None, :, None, :] * decay.columns[None, None, :, :]


def _weight_spectrum_fwd(x, decay):
    return weight_spectrum(x, decay), (x, decay)


def _weight_spectrum_bwd(residuals, dy):
    """Sums over rows and columns as products with ones: reductions are slow on CPU."""
    x, (rows, columns) = residuals
    dx = weight_spectrum(dy, Decay(rows, columns))
    together = functools.reduce(jnp.add, jnp.real(x * dy))  # h w c
    h, w, c = together.shape
    d_rows = jnp.matmul(jnp.ones((1, 1, w)), together * columns[None])[:, 0]
    d_columns = jnp.matmul(jnp.ones((1, h)), (together * rows[:, None]).reshape(h, w * c))
    return dx, Decay(d_rows, d_columns.reshape(w, c))


weight_spectrum.defvjp(_weight_spectrum_fwd, _weight_spectrum_bwd)


def dct_basis(size: int, dtype: type = np.float32) -> Float[np.ndarray, "size size"]:
    """Returns the orthonormal DCT-II matrix T: spectrum = T @ signal, signal = T.T @ spectrum."""
    n = np.arange(size)[:, None]
    x = np.arange(size)[None, :]
    basis = np.cos(np.pi * n * (x + 0.5) / size) * np.sqrt(2.0 / size)
    basis[0] = np.sqrt(1.0 / size)
    return basis.astype(dtype)


def dct2(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Orthonormal two-dimensional DCT-II of every channel."""
    return _separable(x, dct_basis(x.shape[1]), dct_basis(x.shape[2]))


def idct2(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Inverse of `dct2`."""
    return _separable(x, dct_basis(x.shape[1]).T, dct_basis(x.shape[2]).T)


def _separable(
    x: Float[Array, "b h w c"], rows: Float[np.ndarray, "h h"], columns: Float[np.ndarray, "w w"]
) -> Float[Array, "b h w c"]:
    b, h, w, c = x.shape
    x = jnp.matmul(rows[None], x.reshape(b, h, w * c))
    x = jnp.matmul(columns[None], x.reshape(b * h, w, c))
    return x.reshape(b, h, w, c)


def haar_forward(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """One Haar level on groups of W, then of C, consecutive elements of each image's memory.

    Neither step follows an axis of the image unless W == C: the groups of W lie across channels.
    Kept because released weights were trained with it. Source: architecture.md section 6.1.
    """
    return _pair_analysis(_pair_analysis(x, x.shape[2]), x.shape[3])


def haar_backward(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Reverses the two steps of `haar_forward`, in the same order: not its inverse if W != C."""
    return _pair_synthesis(_pair_synthesis(x, x.shape[2]), x.shape[3])


def _pair_analysis(x: Float[Array, "b h w c"], group: int) -> Float[Array, "b h w c"]:
    pairs = x.reshape(x.shape[0], -1, group // 2, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    halves = jnp.stack([(first + second) * 0.5, (first - second) * 0.5], axis=2)
    return halves.reshape(x.shape)


def _pair_synthesis(x: Float[Array, "b h w c"], group: int) -> Float[Array, "b h w c"]:
    halves = x.reshape(x.shape[0], -1, 2, group // 2)
    low, high = halves[:, :, 0], halves[:, :, 1]
    return jnp.stack([low + high, low - high], axis=-1).reshape(x.shape)


def swt_fusion(
    x: Float[Array, "b h w c"], kernel: Float[Array, "1 1 subbands o"], bias: Float[Array, " o"]
) -> Float[Array, "b h w o"]:
    """One undecimated Haar level (zeros beyond the right and bottom) and a 1x1 fusion of the bands.

    Sub-band 4c + 2*high_w + high_h of the kernel belongs to channel c. Filter bank and fusion are
    one 2x2 convolution, so that the four sub-bands are never stored.
    """
    c = x.shape[3]
    bands = kernel.reshape(c, 2, 2, -1)  # c, band along w, band along h, o
    taps = np.array([[0.5, 0.5], [0.5, -0.5]], np.float32)  # band, tap (1/sqrt2 per axis)
    filters = jnp.einsum("cwho,wx,hy->yxco", bands, 2 * taps, taps)
    # One product of the four shifted copies: the gradient of a convolution is slow on CPU.
    padded = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    _, height, width, _ = x.shape
    shifted = [padded[:, y : y + height, s : s + width] for y in range(2) for s in range(2)]
    stacked = jnp.concatenate(shifted, axis=-1).reshape(-1, 4 * c)
    fused = jnp.matmul(stacked, filters.reshape(4 * c, -1)) + bias[None, :]
    return fused.reshape(*x.shape[:3], -1)


def fft_filter(x: Float[Array, "b h w c"], decay: Decay) -> Float[Array, "b h w c"]:
    """Re(IFFT(A * FFT(x))) with transforms over rows, columns and channels.

    x is real and only the real part is kept, so half a spectrum suffices, weighted by the even
    part of A: (A(f) + A(-f)) / 2, all three indices negated modulo their length.
    """
    axes = (1, 2, 3)
    spectrum = jnp.fft.rfftn(x, axes=axes)
    mirrored = Decay(_negate_frequency(decay.rows), _negate_frequency(decay.columns))
    half = spectrum.shape[3]
    weighted = sum(
        weight_spectrum(spectrum, Decay(part.rows[:, :half], part.columns[:, :half]))
        for part in (decay, mirrored)
    )
    return jnp.fft.irfftn(0.5 * weighted, s=x.shape[1:], axes=axes)


def _negate_frequency(x: Float[Array, "f c"]) -> Float[Array, "f c"]:
    return jnp.roll(x[::-1, ::-1], (1, 1), axis=(0, 1))
