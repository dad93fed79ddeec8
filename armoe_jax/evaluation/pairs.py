"""Measuring restored images against originals."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from armoe_jax.images.io import write_image
from armoe_jax.metrics import ms_ssim, psnr, psnr_b, ssim
from armoe_jax.metrics.structural import MS_SSIM_MIN_SIDE, WINDOW_SIZE
from armoe_jax.ops.resize import imresize

FIGURES = ("psnr_y", "ssim_y")
"""What is always measured, of the restored image and, as `lq_...`, of the input."""

EXTENDED_FIGURES = ("psnr_rgb", "ssim_rgb", "psnr_b", "ms_ssim")
"""What `extended=True` adds."""


@runtime_checkable
class Pair(Protocol):
    """A coded image and its original."""

    @property
    def name(self) -> str:
        """The stem of the file names, unique in its set."""
        ...

    @property
    def lq(self) -> np.ndarray:
        """The coded (or small) image, uint8 (H, W, C) or (H, W)."""
        ...

    @property
    def gt(self) -> np.ndarray:
        """The original, uint8, `scale` times as large."""
        ...


def evaluate_pairs(
    restore: Callable[[np.ndarray], np.ndarray],
    pairs: Iterable[Pair],
    *,
    scale: int = 1,
    crop_border: int = 0,
    save_images: str | Path | None = None,
    extended: bool = False,
) -> dict[str, Any]:
    """Restores every image and compares it, and the input, with the original.

    Inputs of super-resolution are measured after bicubic upscaling. An original that exceeds
    `scale` times the input by less than `scale` pixels is cropped at the bottom and right.

    Args:
        restore: uint8 image -> uint8 image of `scale` times its sides.
        pairs: What to measure; one pair is held at a time.
        scale: Output size over input size.
        crop_border: Pixels left out on every side before measuring.
        save_images: Folder for the restored images, `<name>.png`.
        extended: Also measure PSNR and SSIM over RGB, PSNR-B and MS-SSIM.

    Returns:
        A JSON-able record: `num_images`; `psnr_y`, `ssim_y`, `lq_psnr_y`, `lq_ssim_y`, means over
        images; `images`, a list with `name` and the same figures each; with `extended` also
        `psnr_rgb`, `ssim_rgb`, `psnr_b`, `ms_ssim`, their `lq_` forms, and `gain_...`, restored
        minus input. None stands for an infinite value, for a figure that an image is too small
        for (SSIM needs 11 pixels, MS-SSIM 161), and for a mean over any such.

    Raises:
        ValueError: If there are no pairs, names repeat, or sizes do not fit; the image is named.
    """
    figures = FIGURES + EXTENDED_FIGURES if extended else FIGURES
    images: dict[str, dict[str, float]] = {}
    for pair in pairs:
        if pair.name in images:
            raise ValueError(f"{pair.name}: two pairs have this name; names must be unique")
        try:
            gt = _cropped_to(pair.gt, pair.lq.shape, scale)
            restored = restore(pair.lq)
            images[pair.name] = _measure(pair.lq, restored, gt, scale, crop_border, figures)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{pair.name}: {error}") from error
        if save_images is not None:
            write_image(Path(save_images) / f"{pair.name}.png", restored)
    if not images:
        raise ValueError("there are no pairs of images to evaluate")
    rows = list(images.values())
    means = {name: _mean(row[name] for row in rows) for name in rows[0]}
    return {
        "num_images": len(images),
        **_finite(means),
        "images": [{"name": name, **_finite(row)} for name, row in images.items()],
    }


def _measure(
    lq: np.ndarray,
    restored: np.ndarray,
    gt: np.ndarray,
    scale: int,
    crop_border: int,
    figures: tuple[str, ...],
) -> dict[str, float]:
    lq = _bicubic(lq, scale) if scale > 1 else lq
    row = {name: _figure(name, restored, gt, crop_border) for name in figures}
    row |= {f"lq_{name}": _figure(name, lq, gt, crop_border) for name in figures}
    if figures != FIGURES:
        row |= {f"gain_{name}": _difference(row[name], row[f"lq_{name}"]) for name in figures}
    return row


def _figure(name: str, image: np.ndarray, gt: np.ndarray, crop_border: int) -> float:
    """Returns one figure; NaN if the image is too small for it."""
    side = min(gt.shape[:2]) - 2 * crop_border
    min_side = {"ssim_y": WINDOW_SIZE, "ssim_rgb": WINDOW_SIZE, "ms_ssim": MS_SSIM_MIN_SIDE}
    if 0 < side < min_side.get(name, 1):
        return math.nan
    metrics = {
        "psnr_y": psnr,
        "ssim_y": ssim,
        "psnr_rgb": psnr,
        "ssim_rgb": ssim,
        "psnr_b": psnr_b,
        "ms_ssim": ms_ssim,
    }
    y_only = not name.endswith("_rgb")
    return metrics[name](image, gt, crop_border=crop_border, y_only=y_only)


def _bicubic(lq: np.ndarray, scale: int) -> np.ndarray:
    large = imresize(lq.astype(np.float32) / 255, float(scale))
    return np.rint(np.clip(large, 0, 1) * 255).astype(np.uint8)


def _cropped_to(gt: np.ndarray, shape: tuple[int, ...], scale: int) -> np.ndarray:
    height, width = shape[0] * scale, shape[1] * scale
    excess = gt.shape[0] - height, gt.shape[1] - width
    if not all(0 <= pixels < scale for pixels in excess) or gt.shape[2:] != shape[2:]:
        expected = (height, width, *shape[2:])
        raise ValueError(
            f"the original has shape {gt.shape}, expected {expected} ({scale} times the input)"
        )
    return gt[:height, :width]


def _difference(a: float, b: float) -> float:
    return a - b if math.isfinite(a) and math.isfinite(b) else math.nan


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def _finite(row: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in row.items()}
