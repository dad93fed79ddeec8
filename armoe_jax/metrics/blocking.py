"""PSNR-B: the signal-to-noise ratio with a penalty for visible block edges.

Source: Yim and Bovik, "Quality assessment of deblocked images", IEEE TIP 20(1), 2011.
"""

import math

import numpy as np

from armoe_jax.metrics.image import comparable_planes, decibels

BLOCK_SIZE = 8


def psnr_b(
    image: np.ndarray,
    reference: np.ndarray,
    *,
    crop_border: int = 0,
    y_only: bool = True,
    block_size: int = BLOCK_SIZE,
) -> float:
    """Returns 10 log10(255^2 / (mse + blocking effect factor of `image`)).

    The factor is 0 where steps across block edges are no larger than steps elsewhere. The block
    grid starts at the corner of the uncropped image. JPEG has blocks of 8x8; modern codecs have no
    fixed grid, so for them this is a convention of papers rather than a measure of their blocks.

    Args:
        image: The decoded or restored image, uint8 RGB (H, W, 3) or gray.
        reference: The original, of the same shape.
        crop_border: Pixels left out on every side.
        y_only: Measure BT.601 luma instead of the mean over channels; no effect on gray.
        block_size: Side of a block, in pixels.

    Returns:
        Decibels, at most `psnr` of the same pair; infinity if error and factor are 0.

    Raises:
        TypeError: If an array is not uint8.
        ValueError: If shapes differ, are not images, or `block_size` is under 2.
    """
    if block_size < 2:
        raise ValueError(f"block_size is {block_size}, expected 2 or more pixels")
    planes, reference_planes = comparable_planes(image, reference, crop_border, y_only)
    first_edge = -crop_border % block_size
    penalty = np.mean([blocking_effect(plane, block_size, first_edge) for plane in planes])
    return decibels(float(np.mean((planes - reference_planes) ** 2) + penalty))


def blocking_effect(plane: np.ndarray, block_size: int, first_edge: int = 0) -> float:
    """Returns the blocking effect factor of one plane (paper, equations 9 to 14).

    Args:
        plane: (H, W).
        block_size: Side of a block, in pixels.
        first_edge: Index of the first row and column that begins a block.
    """
    squares_at, squares_between, count_at, count_between = 0.0, 0.0, 0, 0
    for axis in (0, 1):
        squares = np.diff(plane, axis=axis) ** 2
        # Step i lies between lines i and i + 1: at a block edge if line i + 1 begins a block.
        at_edge = (np.arange(1, plane.shape[axis]) - first_edge) % block_size == 0
        lines = squares.sum(axis=1 - axis)
        squares_at += float(lines[at_edge].sum())
        squares_between += float(lines[~at_edge].sum())
        count_at += int(at_edge.sum()) * plane.shape[1 - axis]
        count_between += int((~at_edge).sum()) * plane.shape[1 - axis]
    if not count_at or not count_between:
        return 0.0
    excess = squares_at / count_at - squares_between / count_between
    if excess <= 0:
        return 0.0
    return excess * math.log2(block_size) / math.log2(min(plane.shape))
