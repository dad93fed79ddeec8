"""Blending tiles into an image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armoe_jax.ops.tiling import plan_released, plan_tiles, plan_whole
from armoe_jax.restore.canvas import Canvas, from_unit, to_unit


def fill(canvas, plan, image, scale, order):
    """Adds, in some order, the tiles that a network doubling every pixel would return."""
    enlarged = image.repeat(scale, axis=0).repeat(scale, axis=1)
    for row, column in order:
        rows, columns = plan.rows.spans[row], plan.columns.spans[column]
        tile = enlarged[
            rows.start * scale : (rows.start + rows.size) * scale,
            columns.start * scale : (columns.start + columns.size) * scale,
        ]
        padding = (rows.size * scale - tile.shape[0], columns.size * scale - tile.shape[1])
        canvas.add(row, column, np.pad(tile, ((0, padding[0]), (0, padding[1]), (0, 0))))
    return enlarged


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([1, 2]), st.randoms(), st.booleans())
def test_unchanged_tiles_give_back_the_image_in_any_order(height, width, scale, random, released):
    plan = plan_released(3 * height, 3 * width) if released else plan_tiles(height, width, 32, 8)
    shape = (plan.rows.length, plan.columns.length, 3)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    canvas = Canvas(plan, scale=scale, channels=3, dtype=np.dtype(np.uint8), channels_per_tile=3)
    order = list(plan.tiles())
    random.shuffle(order)
    expected = fill(canvas, plan, to_unit(image), scale, order)
    assert canvas.finished
    np.testing.assert_array_equal(canvas.image, from_unit(expected, np.dtype(np.uint8)))


def test_tiles_of_different_brightness_leave_no_step():
    # Two tiles, 0.2 and 0.6, over a fade of 8 pixels: steps of 0.4 / 8 = 0.05 at most.
    plan = plan_tiles(16, 56, 32, 8)
    canvas = Canvas(plan, scale=1, channels=1, dtype=np.dtype(np.float32), channels_per_tile=1)
    for column, value in enumerate((0.2, 0.6)):
        canvas.add(0, column, np.full((16, 32, 1), value, np.float32))
    row = canvas.image[3, :, 0]
    assert row[0] == pytest.approx(0.2)
    assert row[-1] == pytest.approx(0.6)
    assert np.abs(np.diff(row)).max() == pytest.approx(0.05, abs=1e-6)
    assert (np.diff(row) >= -1e-6).all()


def test_rows_are_released_as_they_finish():
    plan = plan_tiles(200, 40, 32, 8)
    canvas = Canvas(plan, scale=1, channels=1, dtype=np.dtype(np.uint8), channels_per_tile=1)
    for row, column in plan.tiles():
        canvas.add(row, column, np.ones((32, 32, 1), np.float32))
        assert len(canvas._bands) <= 2
    assert canvas.finished
    assert (canvas.image == 255).all()


def test_conversion_rounds_and_clips():
    values = np.array([-0.1, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 1.7], np.float32)
    assert from_unit(values, np.dtype(np.uint8)).tolist() == [0, 0, 0, 1, 255, 255]
    assert from_unit(values, np.dtype(np.float32)) is values
    for dtype in (np.uint8, np.uint16):
        levels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
        np.testing.assert_array_equal(from_unit(to_unit(levels), np.dtype(dtype)), levels)


def test_single_tile_is_cropped():
    plan = plan_whole(3, 5)
    canvas = Canvas(plan, scale=2, channels=3, dtype=np.dtype(np.uint8), channels_per_tile=3)
    canvas.add(0, 0, np.ones((6, 12, 3), np.float32))
    assert canvas.image.shape == (6, 10, 3)
