"""Where tiles lie, what surrounds them, and that their weights sum to 1."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armoe_jax.ops.tiling import mirror_indices, plan_released, plan_tiles, plan_whole

tiles = st.sampled_from([16, 32, 64, 200])


def weights_sum(axis, scale):
    total = np.zeros(axis.length * scale)
    for span in axis.spans:
        weights = axis.weights(span, scale)
        assert weights.min() >= 0
        assert weights.max() <= 1
        total[span.start * scale : span.start * scale + len(weights)] += weights
    return total


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 900), tiles, st.floats(0, 0.5), st.sampled_from([1, 2, 3]))
def test_tile_weights_sum_to_one(length, tile, share, scale):
    axis = plan_tiles(length, 1, tile, int(share * tile)).rows
    np.testing.assert_allclose(weights_sum(axis, scale), 1.0, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 900), st.sampled_from([1, 2]))
def test_released_weights_are_a_cut(length, scale):
    for axis in (plan_released(length, 1).rows, plan_released(1, length).columns):
        assert (weights_sum(axis, scale) == 1.0).all()


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 900), tiles, st.floats(0, 0.5))
def test_tiles_overlap_enough_and_lie_inside(length, tile, share):
    overlap = int(share * tile)
    spans = plan_tiles(1, length, tile, overlap).columns.spans
    assert spans[0].start == 0
    assert spans[-1].stop == length
    assert all(span.size in (tile // 2, tile) for span in spans)
    for before, after in itertools.pairwise(spans):
        assert before.stop - after.start >= overlap
        assert before.fade_out == after.fade_in
        assert after.start <= after.fade_in[0] <= after.fade_in[1] <= before.stop
    if len(spans) > 1:
        # No tile could be spared.
        assert (len(spans) - 1) * (tile - overlap) + overlap < length


def test_few_shapes_whatever_the_images():
    rng = np.random.default_rng(0)
    shapes = set()
    for height, width in rng.integers(1, 300, (50, 2)):
        plan = plan_tiles(int(height), int(width), 128, 16)
        shapes |= {plan.shape(row, column) for row, column in plan.tiles()}
    assert shapes == {(64, 64), (64, 128), (128, 64), (128, 128)}


def test_fade_by_hand():
    # Length 28, tiles of 16, overlap 4: starts 0 and 12, both tiles hold 12..16, one fade over it.
    axis = plan_tiles(28, 1, 16, 4).rows
    assert [(span.start, span.stop) for span in axis.spans] == [(0, 16), (12, 28)]
    # Pixel centres 12.5 .. 15.5 of a ramp from 12 to 16: 1/8, 3/8, 5/8, 7/8.
    np.testing.assert_allclose(
        axis.weights(axis.spans[1], 1)[:5], [0.125, 0.375, 0.625, 0.875, 1.0]
    )
    np.testing.assert_allclose(
        axis.weights(axis.spans[0], 1)[11:], [1.0, 0.875, 0.625, 0.375, 0.125]
    )


def test_released_tiles_of_the_reference():
    # 230 x 420: 2 x 3 tiles of 115 x 140 and 16 pixels around (architecture.md section 9).
    plan = plan_released(230, 420)
    borders = [
        (
            plan.rows.spans[row].start,
            plan.rows.spans[row].stop,
            plan.columns.spans[column].start,
            plan.columns.spans[column].stop,
        )
        for row, column in plan.tiles()
    ]
    assert borders == [
        (0, 131, 0, 156),
        (0, 131, 124, 296),
        (0, 131, 264, 420),
        (99, 230, 0, 156),
        (99, 230, 124, 296),
        (99, 230, 264, 420),
    ]


def test_released_padding_and_odd_tiles():
    # Width 211: 2 tiles, padded to 212, 106 + 16 = 122 pixels each.
    columns = plan_released(10, 211).columns
    assert [(span.start, span.stop, span.size) for span in columns.spans] == [
        (0, 122, 122),
        (90, 212, 122),
    ]
    # The padding repeats the edge pixel.
    assert columns.source_indices(columns.spans[1])[-2:].tolist() == [210, 210]
    # Width 210: tiles of 105 + 16 = 121, which the released network refuses: one column more.
    assert [span.size for span in plan_released(10, 210).columns.spans] == [122, 122]


def test_whole_plan_makes_the_width_even():
    plan = plan_whole(3, 5)
    assert plan.shape(0, 0) == (3, 6)
    # Reflection does not repeat the edge: after 0 1 2 3 4 comes 3.
    assert plan.columns.source_indices(plan.columns.spans[0]).tolist() == [0, 1, 2, 3, 4, 3]
    assert plan_whole(1, 1).columns.source_indices(plan_whole(1, 1).columns.spans[0]).tolist() == [
        0,
        0,
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.booleans())
def test_mirroring_agrees_with_numpy_padding(length, repeat_edge):
    mode = "symmetric" if repeat_edge else "reflect"
    # NumPy's reflection of a single pixel is that pixel, like its edge mode.
    expected = np.pad(np.arange(length), 30, mode=mode)
    assert mirror_indices(np.arange(-30, length + 30), length, repeat_edge).tolist() == (
        expected.tolist()
    )


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="tile is 8"):
        plan_tiles(50, 50, 8, 2)
    with pytest.raises(ValueError, match="tile is 33"):
        plan_tiles(50, 50, 33, 2)
    with pytest.raises(ValueError, match="overlap is 17, expected 0 to 16"):
        plan_tiles(50, 50, 32, 17)
    with pytest.raises(ValueError, match="overlap is -1"):
        plan_tiles(50, 50, 32, -1)
