"""Bicubic resizing with antialiasing, as MATLAB's `imresize` does it. NumPy only.

Super-resolution benchmarks make their inputs with this filter; others (Pillow, OpenCV) differ.
"""

import math

import numpy as np
from jaxtyping import Float, Shaped

KERNEL_WIDTH = 4.0


def imresize(image: Shaped[np.ndarray, "h w *c"], scale: float) -> Float[np.ndarray, "oh ow *c"]:
    """Resizes both sides by a factor with the bicubic kernel (Keys, a = -1/2).

    Reducing widens the kernel by 1/scale, against aliasing. Borders are mirrored, edge repeated.

    Args:
        image: Floating point, (H, W, C) or (H, W), any range.
        scale: Output size over input size, above 0; sizes are rounded up.

    Returns:
        float32, (ceil(H * scale), ceil(W * scale), C), not clipped.

    Raises:
        TypeError: If the image is not floating point.
        ValueError: If it is empty or not an image, or the scale is not positive and finite.
    """
    if not np.issubdtype(image.dtype, np.floating):
        raise TypeError(f"image is {image.dtype}, expected floating point; divide by 255 first")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"image has shape {image.shape}, expected a non-empty (H, W, C) or (H, W)")
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale is {scale}, expected a positive number")
    rows = _resize_axis0(image.astype(np.float32), scale)
    return np.ascontiguousarray(_resize_axis0(rows.swapaxes(0, 1), scale).swapaxes(0, 1))


def resize_levels(image: np.ndarray, scale: float | int) -> np.ndarray:
    """Resizes an image of whole levels, rounded and clipped to what its dtype holds.

    Args:
        image: uint8 or uint16, (H, W) or (H, W, C).
        scale: Output size over input size.
    """
    peak = np.iinfo(image.dtype).max
    resized = imresize(image.astype(np.float32) / peak, float(scale))
    return np.rint(np.clip(resized, 0, 1) * peak).astype(image.dtype)


def _resize_axis0(x: np.ndarray, scale: float) -> np.ndarray:
    indices, weights = _taps(x.shape[0], scale)
    weights = weights.reshape(*weights.shape, *[1] * (x.ndim - 1))
    out = np.zeros((len(indices), *x.shape[1:]), np.float32)
    for tap in range(indices.shape[1]):
        out += weights[:, tap] * x[indices[:, tap]]
    return out


def _taps(length: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns source indices and float32 weights, each (outputs, taps), of one axis."""
    stretch = min(scale, 1.0)
    width = KERNEL_WIDTH / stretch
    # Centre of each output pixel in input coordinates, first pixel at 1.
    centre = np.arange(1, math.ceil(length * scale) + 1) / scale + 0.5 * (1 - 1 / scale)
    first = np.floor(centre - width / 2)
    positions = first[:, None] + np.arange(math.ceil(width) + 2)
    weights = stretch * _cubic(stretch * (centre[:, None] - positions))
    weights /= weights.sum(axis=1, keepdims=True)
    used = weights.any(axis=0)
    return _mirror(positions[:, used].astype(np.int64) - 1, length), weights[:, used].astype(
        np.float32
    )


def _mirror(index: np.ndarray, length: int) -> np.ndarray:
    """Folds indices into [0, length), the edge repeated: ... 1 0 | 0 1 2 | 2 1 ..."""
    folded = index % (2 * length)
    return np.minimum(folded, 2 * length - 1 - folded)


def _cubic(t: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2; zero beyond 2."""
    t = np.abs(t)
    near = (1.5 * t - 2.5) * t * t + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    return np.where(t <= 1, near, np.where(t <= 2, far, 0.0))
