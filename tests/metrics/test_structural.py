"""SSIM and MS-SSIM."""

import math

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from armoe_jax.metrics import ms_ssim, psnr, ssim


def test_ssim_of_constant_images_by_hand():
    a, b = np.full((12, 12), 100, np.uint8), np.full((12, 12), 110, np.uint8)
    # No variance: only (2 a b + C1) / (a^2 + b^2 + C1), C1 = 6.5025:
    # 22006.5025 / 22106.5025 = 0.99547644
    assert ssim(a, b) == pytest.approx(0.99547644, abs=1e-8)


def test_ms_ssim_of_constant_images_by_hand():
    a, b = np.full((161, 161), 100, np.uint8), np.full((161, 161), 110, np.uint8)
    # The luminance term counts at the coarsest scale only: 0.99547644 ^ 0.1333 = 0.99939581
    assert ms_ssim(a, b) == pytest.approx(0.99547644**0.1333, abs=1e-8)


def test_ms_ssim_counts_coarse_damage_more_than_pixel_noise(photo):
    rng = np.random.default_rng(0)
    noise = np.clip(photo + rng.normal(0, 12, photo.shape), 0, 255).astype(np.uint8)
    waves = 12 * math.sqrt(2) * np.sin(np.arange(photo.shape[1]) / 5)[None, :, None]
    coarse = np.clip(photo + waves, 0, 255).astype(np.uint8)
    assert psnr(noise, photo) > psnr(coarse, photo) - 6
    assert ssim(noise, photo) < ssim(coarse, photo)
    assert ms_ssim(noise, photo) - ssim(noise, photo) > ms_ssim(coarse, photo) - ssim(coarse, photo)


@pytest.mark.parametrize("shape", [(40, 33), (11, 11), (57, 64)])
def test_ssim_agrees_with_scikit_image(shape):
    rng = np.random.default_rng(1)
    a = rng.integers(0, 256, shape, np.uint8)
    b = np.clip(a.astype(int) + rng.integers(-30, 31, shape), 0, 255).astype(np.uint8)
    oracle = structural_similarity(
        a, b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(a, b) == pytest.approx(oracle, abs=1e-12)
