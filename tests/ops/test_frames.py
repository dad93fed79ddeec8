import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.experts import FRAMES
from armoe_jax.ops.frames import (
    fourier_basis,
    from_windows,
    haar_basis,
    pad_to_windows,
    stationary_haar_frame,
    to_windows,
)


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("size", [2, 4, 8, 16])
def test_the_transpose_of_a_frame_is_its_inverse(name, size):
    matrix = FRAMES[name](size).matrix
    assert matrix.shape[1] == size * size
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(size * size), atol=1e-12)


def test_bases_are_exact_in_double_precision():
    for basis in (fourier_basis(8), haar_basis(8)):
        np.testing.assert_allclose(basis @ basis.T, np.eye(8), atol=1e-12)
    # Levels of 4 values, by hand: mean, halves, pairs.
    root = 0.5**0.5
    expected = [[0.5] * 4, [0.5, 0.5, -0.5, -0.5], [root, -root, 0, 0], [0, 0, root, -root]]
    np.testing.assert_allclose(haar_basis(4), expected, atol=1e-12)
    # Two values: their sum and difference.
    np.testing.assert_allclose(fourier_basis(2), [[root, root], [root, -root]], atol=1e-12)


@pytest.mark.parametrize("name", ["dct", "fft", "haar"])
def test_a_horizontal_wave_lands_in_one_column_of_bins(name):
    columns = np.broadcast_to(np.sin(2 * np.pi * 2 * np.arange(8) / 8), (8, 8))
    spectrum = (FRAMES[name](8).matrix @ columns.ravel()).reshape(8, 8)
    assert np.abs(spectrum[1:]).max() < 1e-6  # nothing changes along the rows' axis
    assert np.abs(spectrum[0]).max() > 1.0
    if name == "fft":  # and it is one sine: rows 0, cos1, sin1, cos2, sin2, ...
        np.testing.assert_allclose(spectrum[0], [0, 0, 0, 0, np.sqrt(32), 0, 0, 0], atol=1e-5)


def test_the_stationary_transform_moves_with_the_image():
    frame = stationary_haar_frame(8)
    rng = np.random.default_rng(0)
    image = rng.normal(size=(8, 8))
    moved = np.roll(image, (3, 2), axis=(0, 1))
    assert (frame.num_bands, frame.places) == (7, 64)
    bands = (frame.matrix @ image.ravel()).reshape(7, 8, 8)
    bands_moved = (frame.matrix @ moved.ravel()).reshape(7, 8, 8)
    np.testing.assert_allclose(np.roll(bands, (3, 2), axis=(1, 2)), bands_moved, atol=1e-5)
    # A constant image has nothing but its last low band.
    constant = (frame.matrix @ np.ones(64)).reshape(7, 64)
    np.testing.assert_allclose(constant[:6], 0, atol=1e-6)
    np.testing.assert_allclose(constant[6], 1, atol=1e-6)


def test_shells_by_hand():
    """The larger of a band's two frequencies; of wavelets the level; bands of a frame, singly."""
    np.testing.assert_array_equal(
        np.reshape(FRAMES["dct"](4).shells, (4, 4)),
        [[0, 1, 2, 3], [1, 1, 2, 3], [2, 2, 2, 3], [3, 3, 3, 3]],
    )
    # Constant, cosine and sine of one period, the alternating one; mean, halves, two pairs.
    for name in ("fft", "haar"):
        rows = {"fft": [0, 1, 1, 2], "haar": [0, 1, 2, 2]}[name]
        np.testing.assert_array_equal(
            FRAMES[name](4).shells, np.maximum.outer(rows, rows).ravel(), err_msg=name
        )
    assert FRAMES["swt"](4).shells == tuple(range(7))
    assert [FRAMES[name](8).num_shells for name in FRAMES] == [8, 5, 4, 7]


def test_windows_are_counted_row_by_row_and_come_back():
    x = jnp.arange(2 * 4 * 6 * 3, dtype=jnp.float32).reshape(2, 4, 6, 3)
    windows = to_windows(x, 2)
    assert windows.shape == (4, 2, 6, 3)
    # Window 4 is the second of the second row; its pixel 1 is row 2, column 3.
    np.testing.assert_array_equal(windows[1, 1, 4], x[1, 2, 3])
    np.testing.assert_array_equal(from_windows(windows, 4, 6), x)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 8), (9, 3), (8, 16)])
def test_padding_mirrors(height, width):
    x = jax.random.uniform(jax.random.key(0), (1, height, width, 2))
    padded = np.asarray(pad_to_windows(x, 8))
    assert padded.shape[1] % 8 == padded.shape[2] % 8 == 0
    np.testing.assert_array_equal(padded[:, :height, :width], x)
    missing = ((0, 0), (0, padded.shape[1] - height), (0, padded.shape[2] - width), (0, 0))
    np.testing.assert_array_equal(padded, np.pad(x, missing, mode="symmetric"))
