"""Bicubic resizing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armoe_jax.ops.resize import imresize


@pytest.mark.parity
@pytest.mark.parametrize("image", [0, 1])
@pytest.mark.parametrize("scale", ["1_2", "1_3", "1_4", "2"])
def test_golden(golden_dir, image, scale):
    with np.load(golden_dir / "imresize.npz") as golden:
        expected = golden[f"img{image}/scale_{scale}"]
        factor = float(golden[f"img{image}/scale_{scale}_value"])
        out = imresize(golden[f"img{image}/input"], factor)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-6)


def test_doubling_a_step_by_hand():
    # Outputs lie a quarter pixel beside inputs. Keys' kernel at 1/4, 3/4, 5/4, 7/4 is
    # 0.8671875, 0.2265625, -0.0703125, -0.0234375 (sum 1). For the row 0 0 1 1, output 3 (at
    # input position 1.25 of 0..3) takes positions 0..3 with -0.0703125, 0.8671875, 0.2265625,
    # -0.0234375: 0.2265625 - 0.0234375 = 0.203125.
    row = np.array([[0.0, 0.0, 1.0, 1.0]], np.float32)
    out = imresize(row, 2.0)
    assert out.shape == (2, 8)
    assert out[0, 3] == pytest.approx(0.203125, abs=1e-7)
    # The borders repeat their edge: output 0 sees 0 0 0 1 with weight -0.0234375 on the 1 only
    # from position 2, which lies 2.25 away: nothing.
    assert out[0, 0] == 0.0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([0.25, 1 / 3, 0.5, 1.0, 2.0, 3.0]))
def test_constants_stay_and_sizes_round_up(height, width, scale):
    out = imresize(np.full((height, width, 3), 0.625, np.float32), scale)
    assert out.shape == (math.ceil(height * scale), math.ceil(width * scale), 3)
    np.testing.assert_allclose(out, 0.625, atol=1e-6)


def test_scale_one_is_the_identity():
    image = np.random.default_rng(0).random((7, 9, 3)).astype(np.float32)
    np.testing.assert_allclose(imresize(image, 1.0), image, atol=1e-7)


def test_axes_are_independent():
    image = np.random.default_rng(0).random((12, 10)).astype(np.float32)
    np.testing.assert_allclose(imresize(image.T, 0.5), imresize(image, 0.5).T, atol=1e-6)


def test_bad_input_is_refused():
    with pytest.raises(TypeError, match="uint8"):
        imresize(np.zeros((4, 4, 3), np.uint8), 2.0)
    image = np.zeros((4, 4, 3), np.float32)
    for scale in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="positive number"):
            imresize(image, scale)
    with pytest.raises(ValueError, match="non-empty"):
        imresize(image[:0], 2.0)
