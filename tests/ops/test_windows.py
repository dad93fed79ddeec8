"""Windows: positions worked out by hand, the released masks, and inverses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armoe_jax.ops import windows

sides = st.integers(1, 4)


@pytest.mark.parametrize(
    ("size", "multiple", "expected"), [(1, 8, 8), (8, 8, 8), (9, 8, 16), (20, 8, 24), (5, 1, 5)]
)
def test_padded_size_is_the_next_multiple(size, multiple, expected):
    assert windows.padded_size(size, multiple) == expected


def test_padding_goes_to_the_bottom_and_right():
    x = jnp.ones((1, 2, 3, 1))
    padded = np.asarray(windows.pad_bottom_right(x, 4, 4))[0, :, :, 0]
    expected = [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(padded, expected)


def test_partition_enumerates_windows_and_tokens_row_by_row():
    # Pixel (y, x) holds 10 y + x. Windows are 2 high and 3 wide: 2 x 2 of them in 4 x 6 pixels.
    y, x = np.mgrid[:4, :6]
    image = jnp.asarray((10 * y + x)[None, :, :, None])
    cut = np.asarray(windows.partition(image, (2, 3)))[0, :, :, 0]
    expected = [
        [0, 1, 2, 10, 11, 12],
        [3, 4, 5, 13, 14, 15],
        [20, 21, 22, 30, 31, 32],
        [23, 24, 25, 33, 34, 35],
    ]
    np.testing.assert_array_equal(cut, expected)


@settings(max_examples=4, deadline=None)
@given(h=sides, w=sides, rows=sides, columns=sides, batch=st.integers(1, 2))
def test_merge_undoes_partition(h, w, rows, columns, batch):
    shape = (batch, h * rows, w * columns, 2)
    image = jnp.arange(np.prod(shape)).reshape(shape)
    cut = windows.partition(image, (h, w))
    assert cut.shape == (batch, rows * columns, h * w, 2)
    np.testing.assert_array_equal(windows.merge(cut, (h, w), shape[1], shape[2]), image)


def test_roll_moves_rows_up_and_columns_left():
    image = jnp.arange(6).reshape(1, 2, 3, 1)  # 0 1 2 / 3 4 5
    rolled = np.asarray(windows.roll(image, (1, 2)))[0, :, :, 0]
    # One row up: 3 4 5 / 0 1 2. Two columns left: 5 3 4 / 2 0 1.
    np.testing.assert_array_equal(rolled, [[5, 3, 4], [2, 0, 1]])
    np.testing.assert_array_equal(windows.roll(image, (0, 0)), image)


def test_region_labels_by_hand():
    # Windows of 2 x 2 in 4 x 4, shifted by 1: along an axis the labels are 0 0 1 2 (positions
    # before 4 - 2 are 0, before 4 - 1 are 1, the rest 2); a pixel's label is 3 * row + column.
    labels = windows.region_labels(4, 4, (2, 2))
    expected = [[0, 0, 0, 0], [1, 2, 1, 2], [3, 3, 6, 6], [4, 5, 7, 8]]
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parity
@pytest.mark.parametrize("size", [(16, 16), (16, 32)])
@pytest.mark.parametrize("branch", [0, 1])
def test_labels_give_the_released_mask(components, size, branch):
    window = [(4, 8), (8, 4)][branch]
    labels = windows.region_labels(*size, window)
    mask = np.where(labels[:, :, None] == labels[:, None, :], 0.0, -100.0)
    golden = components[f"calculate_mask_{size[0]}x{size[1]}/{branch}"]
    np.testing.assert_array_equal(mask, golden)


@settings(max_examples=40, deadline=None)
@given(h=sides, w=sides, rows=sides, columns=sides)
def test_only_windows_at_the_far_border_hold_several_regions(h, w, rows, columns):
    labels = windows.region_labels(h * rows, w * columns, (h, w)).reshape(rows, columns, h * w)
    inner = labels[:-1, :-1]
    assert (inner == inner[..., :1]).all()
    assert len(np.unique(labels[-1, -1])) == min(h, 2) * min(w, 2)


@settings(max_examples=40, deadline=None)
@given(h=sides, w=sides, rows=sides, columns=sides)
def test_four_regions_of_a_window_tell_the_same_tokens_apart(h, w, rows, columns):
    size, window = (h * rows, w * columns), (h, w)
    labels = windows.region_labels(*size, window)
    regions = windows.regions(*size, window)
    np.testing.assert_array_equal(regions.sum(-1), 1)
    together = labels[:, :, None] == labels[:, None, :]
    np.testing.assert_array_equal(regions @ regions.swapaxes(1, 2), together)


def test_relative_offsets_run_fastest_along_the_width():
    expected = [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 0], [0, 1], [1, -1], [1, 0], [1, 1]]
    np.testing.assert_array_equal(windows.relative_offsets((2, 2)), expected)
    np.testing.assert_array_equal(windows.relative_offsets((1, 2)), [[0, -1], [0, 0], [0, 1]])


@pytest.mark.parametrize("window", [(1, 1), (2, 3), (4, 4), (3, 1)])
def test_relative_bias_equals_a_gather(window):
    h, w = window
    rng = np.random.default_rng(0)
    table = rng.normal(size=((2 * h - 1) * (2 * w - 1), 2)).astype(np.float32)
    y, x = (a.ravel() for a in np.mgrid[:h, :w])
    rows = (y[:, None] - y[None, :] + h - 1) * (2 * w - 1) + x[:, None] - x[None, :] + w - 1
    expected = table[rows].transpose(2, 0, 1)  # query minus key; heads first
    np.testing.assert_array_equal(windows.relative_bias(jnp.asarray(table), window), expected)


def test_every_pair_with_an_offset_contributes_to_its_gradient():
    # In a 2 x 3 window the offset (dh, dw) occurs (2 - |dh|) * (3 - |dw|) times.
    gradient = jax.grad(lambda t: windows.relative_bias(t, (2, 3)).sum())(jnp.zeros((15, 1)))
    expected = [[1, 2, 3, 2, 1], [2, 4, 6, 4, 2], [1, 2, 3, 2, 1]]
    np.testing.assert_array_equal(np.asarray(gradient).reshape(3, 5), expected)


@pytest.mark.parity
@pytest.mark.parametrize("branch", [0, 1])
def test_released_bias_table_is_spread_like_theirs(components, tolerance, branch):
    window = [(4, 8), (8, 4)][branch]
    np.testing.assert_array_equal(
        windows.relative_offsets(window), components[f"pos{branch}/coords"]
    )
    bias = windows.relative_bias(jnp.asarray(components[f"pos{branch}/table"]), window)
    np.testing.assert_allclose(
        bias, components[f"pos{branch}/bias"], rtol=0, atol=tolerance(f"pos{branch}/bias")
    )
