"""PSNR-B."""

import numpy as np
import pytest

from armoe_jax.metrics import psnr, psnr_b
from armoe_jax.metrics.blocking import blocking_effect


def test_blocking_effect_by_hand():
    # 4x4, blocks of 2: columns 0 0 | 3 3, rows equal. Horizontally, steps lie between columns
    # 0-1 (0), 1-2 (9, an edge), 2-3 (0): 4 rows give edge sum 36 over 4, other 0 over 8.
    # Vertically all steps are 0: 4 at the edge (rows 1-2), 8 others.
    # Excess = 36 / 8 - 0 = 4.5; log2(2) / log2(4) = 1/2.
    plane = np.tile(np.array([0.0, 0.0, 3.0, 3.0]), (4, 1))
    assert blocking_effect(plane, 2) == pytest.approx(2.25)
    # A grid moved by one column sees the step inside its blocks.
    assert blocking_effect(plane, 2, first_edge=1) == 0.0
    assert blocking_effect(np.zeros((1, 1)), 8) == 0.0


def test_psnr_b_by_hand():
    reference = np.zeros((4, 4), np.uint8)
    image = np.tile(np.array([0, 0, 3, 3], np.uint8), (4, 1))
    # mse = 9 / 2 = 4.5, factor 2.25: 10 log10(65025 / 6.75) = 39.8378
    assert psnr_b(image, reference, block_size=2) == pytest.approx(39.837766, abs=1e-5)
    # Cropping one pixel keeps the grid: columns 0 | 3, a 2x2 image with its only column edge in
    # the middle. Edge steps: 9 + 9 over 2 horizontally, 0 + 0 over 2 vertically; no others: 0.
    assert psnr_b(image, reference, block_size=2, crop_border=1) == psnr(
        image, reference, crop_border=1
    )
