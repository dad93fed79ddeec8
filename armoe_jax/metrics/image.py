"""Checked image pairs, luma, and the peak signal-to-noise ratio.

Source: the definitions that image restoration papers report (BasicSR's `calculate_psnr`).
"""

import math

import numpy as np

from armoe_jax.ops.luma import LUMA

PEAK = 255.0

LUMA_WEIGHTS = tuple(219 * weight for weight in LUMA)
"""Weights of R, G, B in [0, 1] for limited-range BT.601 luma; the offset is 16."""

LUMA_OFFSET = 16.0


def psnr(
    image: np.ndarray, reference: np.ndarray, *, crop_border: int = 0, y_only: bool = True
) -> float:
    """Returns the peak signal-to-noise ratio, 20 log10(255 / rmse).

    Args:
        image: uint8 RGB (H, W, 3), or gray (H, W) or (H, W, 1).
        reference: The original, of the same shape.
        crop_border: Pixels left out on every side.
        y_only: Measure BT.601 luma (see `luma`) instead of all channels; no effect on gray.

    Returns:
        Decibels; infinity for identical images.

    Raises:
        TypeError: If an array is not uint8.
        ValueError: If shapes differ, are not images, or nothing is left after cropping.
    """
    planes, reference_planes = comparable_planes(image, reference, crop_border, y_only)
    return decibels(float(np.mean((planes - reference_planes) ** 2)))


def decibels(mse: float, peak: float | int = PEAK) -> float:
    """Returns 10 log10(peak^2 / mse); infinity if the mean squared error is 0."""
    return math.inf if mse == 0 else 10.0 * math.log10(peak * peak / mse)


def luma(image: np.ndarray) -> np.ndarray:
    """Returns limited-range BT.601 luma of an RGB image, in [16, 235], not rounded.

    The intermediate roundings to float32 are those of the definition in the field, so that
    figures agree with published ones to the last printed digit.

    Args:
        image: uint8, (H, W, 3), RGB.

    Returns:
        float64, (H, W), holding float32 values.
    """
    unit = image.astype(np.float32) / np.float32(PEAK)
    y = unit @ np.array(LUMA_WEIGHTS) + LUMA_OFFSET
    return ((y / PEAK).astype(np.float32) * np.float32(PEAK)).astype(np.float64)


def comparable_planes(
    image: np.ndarray, reference: np.ndarray, crop_border: int, y_only: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Checks a pair of images, crops it, and returns its planes as float64 (C, H, W)."""
    check_pair(image, reference, crop_border)
    return _planes(image, crop_border, y_only), _planes(reference, crop_border, y_only)


def check_pair(image: np.ndarray, reference: np.ndarray, crop_border: int = 0) -> None:
    """Raises TypeError or ValueError unless both are uint8 images of one shape."""
    for role, array in (("image", image), ("reference", reference)):
        if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
            seen = getattr(array, "dtype", type(array).__name__)
            raise TypeError(f"{role} is {seen}, expected a uint8 array; round and convert it first")
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)):
            raise ValueError(
                f"{role} has shape {array.shape}, expected (H, W), (H, W, 1) or (H, W, 3)"
                + ("; drop the alpha channel first" if array.shape[-1] in (2, 4) else "")
            )
    if image.shape != reference.shape:
        raise ValueError(
            f"image has shape {image.shape} but reference has {reference.shape}; "
            "both must be equal (crop or resize one of them first)"
        )
    if crop_border < 0:
        raise ValueError(f"crop_border is {crop_border}, expected 0 or more pixels")
    if min(image.shape[:2]) <= 2 * crop_border:
        raise ValueError(
            f"crop_border {crop_border} leaves nothing of an image of "
            f"{image.shape[0]}x{image.shape[1]} pixels"
        )


def _planes(image: np.ndarray, crop_border: int, y_only: bool) -> np.ndarray:
    height, width = image.shape[:2]
    cropped = image[crop_border : height - crop_border, crop_border : width - crop_border]
    if cropped.ndim == 2:
        return cropped[None].astype(np.float64)
    if y_only and cropped.shape[2] == 3:
        return luma(cropped)[None]
    return np.moveaxis(cropped, 2, 0).astype(np.float64)
