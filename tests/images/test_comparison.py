"""Pictures side by side."""

import numpy as np
import pytest

from armoe_jax.images.comparison import GAP, MAX_SIDE, MIN_CELL, compare

LABELS = 32
"""Rows above pictures of the least width, twice the size of the letters."""


def test_layout_and_the_part_that_differs():
    first = np.full((100, 300, 3), 60, np.uint8)
    second = first.copy()
    second[90:, 290:] = 90  # in the last corner: the part must end there
    sheet = compare({"input": first, "restored": second})
    # 300 // 128 = 2: the part has 150 x 75 pixels, and fills the width.
    assert sheet.shape == (LABELS + 100 + GAP + 150, 300 + GAP + 300, 3)
    zoom = sheet[LABELS + 100 + GAP :, 300 + GAP :]
    np.testing.assert_array_equal(zoom, np.kron(second[25:, 150:], np.ones((2, 2, 1), int)))
    whole = sheet[LABELS : LABELS + 100, 300 + GAP :]
    frame = (whole != second).any(axis=2)
    assert frame[25:27, 150:].all()
    assert not frame[:25].any()
    assert not frame[27:98, 152:298].any()


def test_what_is_left_of_the_width_is_filled():
    first = np.arange(419 * 300, dtype=np.uint32).reshape(300, 419)
    first = (first % 251).astype(np.uint8)
    sheet = compare({"a": first, "b": 255 - first})
    # 419 // 128 = 3: 140 columns, of the last of which two thirds are shown.
    assert sheet.shape == (LABELS + 300 + GAP + 3 * 70, 2 * 419 + GAP, 3)
    zoom = sheet[LABELS + 300 + GAP :, :419, 0]
    whole_pixels = np.kron(zoom[::3, ::3], np.ones((3, 3), int))
    np.testing.assert_array_equal(zoom, whole_pixels[:, :419])
    assert np.ptp(zoom) > 200


def test_labels_are_drawn_dark_on_white():
    sheet = compare({"input": np.zeros((40, 50), np.uint8), "b": np.zeros((40, 50), np.uint8)})
    label = sheet[:LABELS, :MIN_CELL]
    letters = np.argwhere(label.max(axis=2) < 128)
    assert np.ptp(letters[:, 0]) >= 10  # rows of i, p and t
    assert np.ptp(letters[:, 1]) >= 25
    assert (sheet[LABELS:, MIN_CELL : MIN_CELL + GAP] == 255).all()
    assert (sheet[LABELS : LABELS + 40, 50:MIN_CELL] == 255).all()  # no dark strip beside it


def test_large_deep_and_tiny_pictures():
    large = np.zeros((3000, 1500), np.uint16)
    large[10:20, 10:20] = 65535
    sheet = compare({"a": large, "b": 0 * large})
    assert sheet.shape[:2] == (LABELS + MAX_SIDE + GAP + 4 * 64, 2 * 512 + GAP)
    assert sheet[LABELS + MAX_SIDE + GAP :, :512].max() == 255
    tiny = large[:1, :1]
    assert compare({"a": tiny, "b": tiny}).shape == (
        LABELS + 1 + GAP + MIN_CELL,
        2 * MIN_CELL + GAP,
        3,
    )


@pytest.mark.parametrize("scale", [2, 3])
def test_smaller_inputs_are_enlarged(scale):
    small = np.full((40, 50, 3), 77, np.uint8)
    restored = np.full((40 * scale, 50 * scale, 3), 77, np.uint8)
    sheet = compare({"input": small, "restored": restored})
    right = MIN_CELL + GAP
    np.testing.assert_array_equal(sheet[LABELS:, :MIN_CELL], sheet[LABELS:, right:])
