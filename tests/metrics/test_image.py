"""PSNR, and what all measures of uint8 images have in common."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armoe_jax.metrics import luma, ms_ssim, psnr, psnr_b, ssim

METRICS = [psnr, ssim, ms_ssim, psnr_b]


@pytest.mark.parity
@pytest.mark.parametrize("pair", range(4))
@pytest.mark.parametrize("y_only", [False, True])
@pytest.mark.parametrize("crop", [0, 2])
def test_golden_psnr_and_ssim(golden, pair, y_only, crop):
    a, b = golden[f"pair{pair}/a"], golden[f"pair{pair}/b"]
    key = f"pair{pair}/y{int(y_only)}_crop{crop}"
    expected_psnr = float(golden[f"{key}/psnr"])
    measured = psnr(a, b, crop_border=crop, y_only=y_only)
    assert measured == expected_psnr or abs(measured - expected_psnr) < 1e-5
    expected_ssim = float(golden[f"{key}/ssim"])
    tolerance = 1e-6 if y_only else 1e-7
    assert ssim(a, b, crop_border=crop, y_only=y_only) == pytest.approx(
        expected_ssim, abs=tolerance
    )


def test_psnr_by_hand():
    reference = np.zeros((2, 2), np.uint8)
    image = np.array([[2, 0], [0, 0]], np.uint8)
    # mse = 4 / 4 = 1; 20 log10(255) = 48.1308
    assert psnr(image, reference) == pytest.approx(48.13080361, abs=1e-8)


def test_luma_by_hand():
    image = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.uint8)
    # 16;  16 + 65.481 + 128.553 + 24.966 = 235;  16 + 65.481 = 81.481
    np.testing.assert_allclose(luma(image), [[16.0, 235.0, 81.481]], atol=1e-5)


def test_y_psnr_of_a_gray_shift_by_hand():
    reference = np.full((4, 4, 3), 100, np.uint8)
    # Luma moves by 10 * 219 / 255 = 8.588235; 20 log10(255 / 8.588235) = 29.4527
    assert psnr(reference + np.uint8(10), reference) == pytest.approx(29.4528, abs=1e-4)
    # All channels move by 10: 20 log10(25.5) = 28.1308
    assert psnr(reference + np.uint8(10), reference, y_only=False) == pytest.approx(
        28.13080361, abs=1e-8
    )


def test_identical_images(photo):
    assert psnr(photo, photo) == math.inf
    assert psnr_b(np.full((16, 16), 7, np.uint8), np.full((16, 16), 7, np.uint8)) == math.inf
    assert ssim(photo, photo) == pytest.approx(1.0, abs=1e-12)
    assert ms_ssim(photo, photo) == pytest.approx(1.0, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(11, 30), st.integers(11, 30))
def test_bounds_and_symmetry(seed, height, width):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 256, (2, height, width, 3), np.uint8)
    assert psnr_b(a, b) <= psnr(a, b) + 1e-12
    assert psnr(a, b) == psnr(b, a)
    assert ssim(a, b) == pytest.approx(ssim(b, a), abs=1e-12)
    assert -1 <= ssim(a, b) <= 1


def test_gray_shapes_agree(golden):
    a, b = golden["pair0/a"][..., 1], golden["pair0/b"][..., 1]
    for metric in (psnr, ssim, psnr_b):
        assert metric(a, b) == metric(a[..., None], b[..., None], y_only=False)


@pytest.mark.parametrize("metric", METRICS)
def test_bad_pairs_are_refused(metric):
    a = np.zeros((200, 200, 3), np.uint8)
    with pytest.raises(ValueError, match=r"\(200, 200, 3\).*\(200, 199, 3\)"):
        metric(a, a[:, :199])
    with pytest.raises(TypeError, match="float64"):
        metric(a.astype(float), a)
    with pytest.raises(ValueError, match="alpha"):
        metric(np.zeros((200, 200, 4), np.uint8), np.zeros((200, 200, 4), np.uint8))
    with pytest.raises(ValueError, match="leaves nothing"):
        metric(a, a, crop_border=100)
    with pytest.raises(ValueError, match="crop_border is -1"):
        metric(a, a, crop_border=-1)


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match="11x11"):
        ssim(np.zeros((10, 40), np.uint8), np.zeros((10, 40), np.uint8))
    with pytest.raises(ValueError, match="161x161"):
        ms_ssim(np.zeros((161, 160), np.uint8), np.zeros((161, 160), np.uint8))
    with pytest.raises(ValueError, match="block_size is 1"):
        psnr_b(np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8), block_size=1)


def test_importing_metrics_and_resize_does_not_start_jax():
    code = (
        "import sys, armoe_jax, armoe_jax.metrics, armoe_jax.ops.resize; armoe_jax.psnr;"
        "sys.exit('jax' in sys.modules or 'flax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
