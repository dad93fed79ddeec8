"""Frequency frames of square windows: what the experts of the windowed mixture transform with.

A frame is a matrix T with T.T @ T = 1, so that its transpose is an exact inverse. Rows are sorted
by band; each band has as many rows as there are places that it is sampled at: one in a basis, all
n * n in a stationary transform.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Frame(NamedTuple):
    """A Parseval frame of windows.

    Attributes:
        matrix: Rows over bands and places, columns over the window's pixels, row by row.
        num_bands: Bands; the rows of band k are k * places, ..., (k + 1) * places - 1.
        shells: Number of each band's shell, from 0 on: bands of a shell have about one frequency.
    """

    matrix: Float[np.ndarray, "rows pixels"]
    num_bands: int
    shells: tuple[int, ...]

    @property
    def places(self) -> int:
        """Coefficients of one band."""
        return self.matrix.shape[0] // self.num_bands

    @property
    def num_shells(self) -> int:
        """Number of shells."""
        return max(self.shells) + 1


def fourier_basis(size: int) -> Float[np.ndarray, "size size"]:
    """Returns the orthonormal real Fourier matrix: constant, cosine, sine, cosine, sine, ...

    Args:
        size: Length of the signal; if even, the last row alternates between +1 and -1.
    """
    x = np.arange(size)
    rows = [np.full(size, size**-0.5)]
    for k in range(1, (size + 1) // 2):
        phase = 2 * np.pi * k * x / size
        rows += [np.cos(phase) * (2 / size) ** 0.5, np.sin(phase) * (2 / size) ** 0.5]
    if size % 2 == 0 and size > 1:
        rows.append(np.cos(np.pi * x) * size**-0.5)
    return np.stack(rows)


def haar_basis(size: int) -> Float[np.ndarray, "size size"]:
    """Returns the orthonormal Haar wavelet matrix with all levels, coarse rows first.

    Args:
        size: Length of the signal, a power of two.
    """
    if size == 1:
        return np.ones((1, 1))
    coarse = np.kron(haar_basis(size // 2), [[1.0, 1.0]])
    fine = np.kron(np.eye(size // 2), [[1.0, -1.0]])
    return np.concatenate([coarse, fine]) * 0.5**0.5


def separable_frame(
    basis: Float[np.ndarray, "size size"], frequencies: Sequence[int] | None = None
) -> Frame:
    """Returns the basis of windows that transforms rows and columns alike; each row is a band.

    Args:
        basis: Orthonormal matrix of one direction.
        frequencies: Of its rows, from 0 on without gaps; by default their numbers. A band's shell
            is the larger of its two.
    """
    size = basis.shape[0]
    along = np.arange(size) if frequencies is None else np.asarray(frequencies)
    shells = np.maximum(along[:, None], along[None, :]).ravel()
    return Frame(np.kron(basis, basis), size * size, tuple(shells.tolist()))


def stationary_haar_frame(size: int, levels: int = 2) -> Frame:
    """Returns the undecimated Haar transform of windows that continue periodically.

    Bands: for each level, fine to coarse, high along x, along y, along both; then the last low
    band. Every band is sampled at every pixel.

    Args:
        size: Side of the window, at least 2 ** levels.
        levels: Times that the low band is split.
    """
    low, bands = np.eye(size), []
    identity = np.eye(size)
    low_low = np.kron(low, low)
    for level in range(levels):
        shifted = np.roll(identity, 2**level, axis=1)
        average, difference = (identity + shifted) / 2, (identity - shifted) / 2
        for rows, columns in ((average, difference), (difference, average), (difference,) * 2):
            bands.append(np.kron(rows, columns) @ low_low)
        low_low = np.kron(average, average) @ low_low
    bands.append(low_low)
    return Frame(np.concatenate(bands), len(bands), tuple(range(len(bands))))


def to_windows(x: Float[Array, "b h w c"], size: int) -> Float[Array, "pixels b windows c"]:
    """Returns the windows of images with their pixels in front.

    Args:
        x: Images whose sides are multiples of `size`.
        size: Side of a window.

    Returns:
        Pixel p of window n of image b, both counted row by row, at [p, b, n].
    """
    b, h, w, c = x.shape
    grid = x.reshape(b, h // size, size, w // size, size, c)
    return grid.transpose(2, 4, 0, 1, 3, 5).reshape(size * size, b, -1, c)


def from_windows(
    windows: Float[Array, "pixels b windows c"], height: int, width: int
) -> Float[Array, "b h w c"]:
    """Puts the windows of `to_windows` together again, to images of height x width."""
    pixels, b, _, c = windows.shape
    size = int(pixels**0.5)
    grid = windows.reshape(size, size, b, height // size, width // size, c)
    return grid.transpose(2, 3, 0, 4, 1, 5).reshape(b, height, width, c)


def pad_to_windows(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b height width c"]:
    """Pads right and bottom to multiples of `size`: by reflection, as often as it takes."""
    h, w = x.shape[1:3]
    missing = ((0, 0), (0, -h % size), (0, -w % size), (0, 0))
    return jnp.pad(x, missing, mode="symmetric") if missing[1][1] or missing[2][1] else x
