"""Pictures side by side."""

import numpy as np
import pytest

from armoe_jax.images.comparison import MAX_SIDE, compare

LABELS, GAP = 16, 4


def test_layout_and_the_part_that_differs(tmp_path):
    first = np.full((100, 200, 3), 60, np.uint8)
    second = first.copy()
    second[90:, 190:] = 90  # in the last corner: the part must end there
    sheet = compare({"input": first, "restored": second})
    assert sheet.shape == (LABELS + 100 + GAP + 64, 200 + GAP + 200, 3)
    # The part is 128x64 pixels, unmagnified: 200 // 128 = 1.
    zoom = sheet[LABELS + 100 + GAP :, 204 : 204 + 128]
    np.testing.assert_array_equal(zoom, second[36:, 72:])
    whole = sheet[LABELS : LABELS + 100, 204:]
    assert (whole[40, 100] == second[40, 100]).all()
    assert (whole[36, 100] != second[36, 100]).any()  # the frame around the part


def test_small_pictures_are_magnified_by_repetition():
    first = np.arange(300 * 300, dtype=np.uint32).reshape(300, 300)
    first = (first % 251).astype(np.uint8)
    second = first.copy()
    second[:64, :128] = 255 - second[:64, :128]
    sheet = compare({"a": first, "b": second})
    zoom = sheet[LABELS + 300 + GAP :, :256]
    np.testing.assert_array_equal(zoom[..., 0], np.kron(first[:64, :128], np.ones((2, 2), int)))


def test_large_deep_and_small_pictures():
    large = np.zeros((3000, 1500), np.uint16)
    large[10:20, 10:20] = 65535
    sheet = compare({"a": large, "b": 0 * large})
    assert sheet.shape[:2] == (LABELS + MAX_SIDE + GAP + 4 * 64, 2 * 512 + GAP)
    assert sheet[LABELS + MAX_SIDE + GAP :].max() == 255
    assert compare({"a": large[:1, :1], "b": large[:1, :1]}).shape[2] == 3


@pytest.mark.parametrize("scale", [2, 3])
def test_smaller_inputs_are_enlarged(scale):
    small = np.full((40, 50, 3), 77, np.uint8)
    restored = np.full((40 * scale, 50 * scale, 3), 77, np.uint8)
    sheet = compare({"input": small, "restored": restored})
    width = 50 * scale
    np.testing.assert_array_equal(sheet[LABELS:, :width], sheet[LABELS:, width + GAP :])
