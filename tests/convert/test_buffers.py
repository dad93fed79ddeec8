"""The released network's constants, by hand."""

import numpy as np

from armoe_jax.convert import buffers


def test_relative_offsets():
    # Height 1: dh is 0 only; width 2: dw is -1, 0, 1.
    np.testing.assert_array_equal(buffers.relative_offsets((1, 2)), [[0, -1], [0, 0], [0, 1]])
    np.testing.assert_array_equal(buffers.relative_offsets((2, 1)), [[-1, 0], [0, 0], [1, 0]])


def test_relative_index():
    # Tokens (0,0), (0,1), (1,0), (1,1); row (dh + 1) * 3 + dw + 1; query minus key.
    # Query (0,0): keys give (0,0) -> 4, (0,-1) -> 3, (-1,0) -> 1, (-1,-1) -> 0.
    index = buffers.relative_index((2, 2))
    np.testing.assert_array_equal(index, [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]])
    assert index.dtype == np.int64


def test_index_points_to_the_offset_of_each_pair():
    window = (3, 4)
    rows, columns = np.divmod(np.arange(12), 4)
    expected = np.stack([rows[:, None] - rows, columns[:, None] - columns], -1)
    table = buffers.relative_offsets(window)
    np.testing.assert_array_equal(table[buffers.relative_index(window)], expected)


def test_attention_mask():
    # Windows of 64 x 32: two side by side. In the left one no border runs, but the rows: shift 32,
    # so rows 0-31 have label 1 and rows 32-63 label 2. In the right one columns 32-47 have label
    # 1 and 48-63 label 2 as well: 4 regions.
    mask = buffers.attention_mask((64, 32))
    assert mask.shape == (2, 2048, 2048)
    assert mask.dtype == np.float32
    row, column = np.divmod(np.arange(2048), 32)
    upper, left = row < 32, column < 16
    same_rows = upper[:, None] == upper
    same_columns = left[:, None] == left
    np.testing.assert_array_equal(mask[0], np.where(same_rows, 0, -100))
    np.testing.assert_array_equal(mask[1], np.where(same_rows & same_columns, 0, -100))


def test_haar_filters():
    low = buffers.haar_filter(high=False, shape=(1, 1, 2, 1))
    high = buffers.haar_filter(high=True, shape=(1, 1, 1, 2))
    # 1 / sqrt(2), rounded to float32.
    np.testing.assert_array_equal(low.ravel(), np.float32([0.70710678, 0.70710678]))
    np.testing.assert_array_equal(high.ravel(), np.float32([0.70710678, -0.70710678]))
    assert high.shape == (1, 1, 1, 2)


def test_constants_cannot_be_changed_by_accident():
    assert not buffers.attention_mask((4, 8)).flags.writeable
