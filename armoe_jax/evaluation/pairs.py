"""Measuring restored images against originals."""

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from armoe_jax.evaluation.record import Evaluation, Failure, ImageRecord, median_seconds
from armoe_jax.images.io import write_image
from armoe_jax.metrics import ms_ssim, psnr, psnr_b, ssim
from armoe_jax.metrics.structural import MS_SSIM_MIN_SIDE, WINDOW_SIZE
from armoe_jax.ops.resize import resize_levels
from armoe_jax.runtime.errors import tell_of_item

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


class Restored(NamedTuple):
    """A restored image, and the expert that each layer chose for it."""

    image: np.ndarray
    expert: tuple[int, ...]


def evaluate_pairs(
    restore: Callable[..., np.ndarray | Restored],
    pairs: Iterable[Pair],
    *,
    scale: int = 1,
    crop_border: int = 0,
    save_images: str | Path | None = None,
    extended: bool = False,
    keep_going: bool = False,
) -> Evaluation:
    """Restores every image and compares it, and the input, with the original.

    Inputs of super-resolution are measured after bicubic upscaling. An original that exceeds
    `scale` times the input by less than `scale` pixels is cropped at the bottom and right.

    Args:
        restore: uint8 image -> uint8 image of `scale` times its sides; called with `coding=...`,
            too, for pairs that have a `coding` (of a JPEG whose file is known).
        pairs: What to measure; one pair is held at a time.
        scale: Output size over input size.
        crop_border: Pixels left out on every side before measuring.
        save_images: Folder for the restored images, `<name>.png`.
        extended: Also measure PSNR and SSIM over RGB, PSNR-B and MS-SSIM.
        keep_going: List a pair that cannot be read, restored or measured in `failed`, instead of
            raising.

    Returns:
        The record: of each image `psnr_y`, `ssim_y` and, of the input, `lq_psnr_y`, `lq_ssim_y`;
        with `extended` also `psnr_rgb`, `ssim_rgb`, `psnr_b`, `ms_ssim`, their `lq_` forms, and
        `gain_...`, restored minus input. None stands for an infinite value, and for a figure that
        an image is too small for (SSIM needs 11 pixels, MS-SSIM 161).

    Raises:
        ValueError: If there are no pairs (or all failed), names repeat, or sizes do not fit; the
            image is named.
    """
    figures = FIGURES + EXTENDED_FIGURES if extended else FIGURES
    images: dict[str, ImageRecord] = {}
    failed: list[Failure] = []
    for pair in pairs:
        if pair.name in images:
            raise ValueError(f"{pair.name}: two pairs have this name; names must be unique")
        try:
            restored, record = _evaluate(restore, pair, scale, crop_border, figures)
            if save_images is not None:
                write_image(Path(save_images) / f"{pair.name}.png", restored)
            images[pair.name] = record
        except (ValueError, TypeError, OSError, MemoryError, RuntimeError) as error:
            if keep_going:
                failed.append(Failure(pair.name, tell_of_item(error)))
                continue
            if isinstance(error, ValueError | TypeError):
                raise type(error)(f"{pair.name}: {error}") from error
            raise
    return Evaluation(
        tuple(images.values()), tuple(failed), seconds_per_image=median_seconds(images.values())
    )


def _evaluate(
    restore: Callable[..., np.ndarray | Restored],
    pair: Any,  # a Pair; where types are checked at run time, that reads its files, outside `try`
    scale: int,
    crop_border: int,
    figures: tuple[str, ...],
) -> tuple[np.ndarray, ImageRecord]:
    lq = pair.lq
    gt = _cropped_to(pair.gt, lq.shape, scale)
    start = time.perf_counter()
    coding = getattr(pair, "coding", None)
    output = restore(lq) if coding is None else restore(lq, coding=coding)
    seconds = time.perf_counter() - start
    restored, expert = output if isinstance(output, Restored) else (output, ())
    lq = resize_levels(lq, scale) if scale > 1 else lq
    row = {name: _figure(name, restored, gt, crop_border) for name in figures}
    row |= {f"lq_{name}": _figure(name, lq, gt, crop_border) for name in figures}
    if figures != FIGURES:
        row |= {f"gain_{name}": _difference(row[name], row[f"lq_{name}"]) for name in figures}
    finite = {name: value if math.isfinite(value) else None for name, value in row.items()}
    return restored, ImageRecord(pair.name, finite, expert, seconds)


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
