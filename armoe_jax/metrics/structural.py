"""Structural similarity, at one scale (SSIM) and at several (MS-SSIM).

Source: Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13(4), 2004; Wang, Simoncelli, Bovik, 37th
Asilomar Conference, 2003.
"""

import math

import numpy as np
from scipy import ndimage

from armoe_jax.metrics.image import PEAK, comparable_planes

WINDOW_SIZE = 11
WINDOW_SIGMA = 1.5
C1 = (0.01 * PEAK) ** 2
C2 = (0.03 * PEAK) ** 2

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first (2003 paper, section 3.2)."""

MS_SSIM_MIN_SIDE = (WINDOW_SIZE - 1) * 2 ** (len(MS_SSIM_WEIGHTS) - 1) + 1
"""Shortest side, in pixels, whose coarsest scale still holds one window."""


def ssim(
    image: np.ndarray, reference: np.ndarray, *, crop_border: int = 0, y_only: bool = True
) -> float:
    """Returns the structural similarity index (11x11 Gaussian window, sigma 1.5, valid region).

    Args:
        image: uint8 RGB (H, W, 3), or gray (H, W) or (H, W, 1).
        reference: The original, of the same shape.
        crop_border: Pixels left out on every side.
        y_only: Measure BT.601 luma instead of the mean over channels; no effect on gray.

    Returns:
        A value in [-1, 1]; 1 for identical images.

    Raises:
        TypeError: If an array is not uint8.
        ValueError: If shapes differ, are not images, or a side is under 11 pixels after cropping.
    """
    planes, reference_planes = comparable_planes(image, reference, crop_border, y_only)
    _check_side(planes, WINDOW_SIZE, "SSIM")
    scores = []
    for x, y in zip(planes, reference_planes, strict=True):
        luminance, structure = _similarity_maps(x, y)
        scores.append(np.mean(luminance * structure))
    return float(np.mean(scores))


def ms_ssim(
    image: np.ndarray, reference: np.ndarray, *, crop_border: int = 0, y_only: bool = True
) -> float:
    """Returns the multi-scale structural similarity index over five scales.

    Scales are halved by averaging 2x2 pixels (the last row or column is repeated where a side is
    odd). A negative mean of the contrast-structure term counts as 0, as its power is not real.

    Args:
        image: uint8 RGB (H, W, 3), or gray (H, W) or (H, W, 1).
        reference: The original, of the same shape.
        crop_border: Pixels left out on every side.
        y_only: Measure BT.601 luma instead of the mean over channels; no effect on gray.

    Returns:
        A value in [0, 1]; 1 for identical images.

    Raises:
        TypeError: If an array is not uint8.
        ValueError: If shapes differ, are not images, or a side is under 161 pixels after cropping.
    """
    planes, reference_planes = comparable_planes(image, reference, crop_border, y_only)
    _check_side(planes, MS_SSIM_MIN_SIDE, "MS-SSIM")
    scores = [_ms_ssim_plane(x, y) for x, y in zip(planes, reference_planes, strict=True)]
    return float(np.mean(scores))


def _ms_ssim_plane(x: np.ndarray, y: np.ndarray) -> float:
    score = 1.0
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        luminance, structure = _similarity_maps(x, y)
        coarsest = scale == len(MS_SSIM_WEIGHTS) - 1
        term = np.mean(luminance * structure if coarsest else structure)
        score *= max(float(term), 0.0) ** weight
        x, y = _halve(x), _halve(y)
    return score


def _similarity_maps(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the luminance and the contrast-structure map of two planes, valid region."""
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _blur(np.stack([x, y, x * x, y * y, x * y]))
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    luminance = (2 * product + C1) / (squares + C1)
    structure = (2 * (mean_xy - product) + C2) / (mean_xx + mean_yy - squares + C2)
    return luminance, structure


def _blur(stack: np.ndarray) -> np.ndarray:
    """Gaussian mean over the last two axes; keeps only windows that lie inside."""
    radius = WINDOW_SIZE // 2
    offsets = np.arange(-radius, radius + 1)
    window = np.exp(-(offsets**2) / (2 * WINDOW_SIGMA**2))
    window /= math.fsum(window)
    rows = ndimage.correlate1d(stack, window, axis=1)[:, radius:-radius]
    return ndimage.correlate1d(rows, window, axis=2)[:, :, radius:-radius]


def _halve(plane: np.ndarray) -> np.ndarray:
    height, width = plane.shape
    even = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    return even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2).mean(axis=(1, 3))


def _check_side(planes: np.ndarray, min_side: int, name: str) -> None:
    height, width = planes.shape[1:]
    if min(height, width) < min_side:
        raise ValueError(
            f"{name} needs at least {min_side}x{min_side} pixels after cropping, "
            f"got {height}x{width}"
        )
