"""The demonstration: shipped weights on photographs inside an installed package, with pictures."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from armoe_jax.checkpoints.shipped import JPEG_MODEL
from armoe_jax.evaluation.tables import markdown
from armoe_jax.images.io import write_image
from armoe_jax.metrics import psnr, ssim
from armoe_jax.training.final_report import add_constant
from input_pipeline import pipeline
from input_pipeline.example import Pair
from input_pipeline.transforms import jpeg_round_trip

Image = UInt8[np.ndarray, "_ _ _"]

VVC_QP = 37
JPEG_QUALITY = 10


@dataclasses.dataclass(frozen=True)
class Restored:
    """One photograph of the demonstration and what came of it.

    Attributes:
        title: Photograph, codec and quality.
        before: PSNR-Y in dB and SSIM-Y of the coded image.
        after: The same of the restored image.
        brightness: PSNR-Y after the best constant correction of each channel, and nothing else.
        seconds: What restoring took, compilation included.
    """

    title: str
    before: tuple[float, float]
    after: tuple[float, float]
    brightness: float
    seconds: float


def coded_pairs(model: str, cache_dir: str = "") -> list[Pair]:
    """Returns the photographs, coded as the weights of that name expect it.

    Args:
        model: Name of shipped weights.
        cache_dir: Where they are coded; by default the user's cache folder.
    """
    fields: dict[str, Any] = {"source": "embedded", "codec": "vvc", "qp": VVC_QP}
    fields |= {"preset": "faster", "colors": "clean", "cache_dir": cache_dir}
    pairs = pipeline.eval_pairs(fields)[:]
    if model != JPEG_MODEL:
        return pairs
    return [
        Pair(pair.name, jpeg_round_trip(pair.gt, JPEG_QUALITY, "4:2:0"), pair.gt) for pair in pairs
    ]


def restore_photographs(
    restore: Callable[[Image], Image], pairs: Sequence[Pair], model: str, folder: Path
) -> list[Restored]:
    """Restores photographs, measures them, and writes pictures.

    Args:
        restore: The network.
        pairs: Coded images and their originals.
        model: Name of the weights, for titles.
        folder: Gets coded, restored and original image, and all three side by side.
    """
    coding = f"JPEG quality {JPEG_QUALITY}" if model == JPEG_MODEL else f"VVC QP {VVC_QP}"
    kind = coding.partition(" ")[0].lower()
    results = []
    for pair in pairs:
        start = time.perf_counter()
        restored = restore(pair.lq)
        seconds = time.perf_counter() - start
        pictures = {"coded": pair.lq, "restored": restored, "original": pair.gt}
        pictures["comparison"] = np.concatenate([pair.lq, restored, pair.gt], axis=1)
        for what, picture in pictures.items():
            write_image(folder / f"{pair.name}_{kind}_{what}.png", picture)
        shift = (pair.gt.astype(np.float64) - pair.lq).mean(axis=(0, 1))
        results.append(
            Restored(
                f"{pair.name}, {coding}",
                (psnr(pair.lq, pair.gt), ssim(pair.lq, pair.gt)),
                (psnr(restored, pair.gt), ssim(restored, pair.gt)),
                psnr(add_constant(pair.lq, shift), pair.gt),
                seconds,
            )
        )
    return results


def format_results(results: Sequence[Restored]) -> str:
    """Returns the figures as a table."""
    header = [
        "photograph",
        "coded PSNR-Y/SSIM",
        "restored",
        "gain dB",
        "brightness only",
        "seconds",
    ]
    rows = []
    for row in results:
        before, after = (
            f"{figures[0]:.2f} / {figures[1]:.4f}" for figures in (row.before, row.after)
        )
        gains = [f"{psnr - row.before[0]:+.2f}" for psnr in (row.after[0], row.brightness)]
        rows.append([row.title, before, after, *gains, f"{row.seconds:.1f}"])
    return markdown(header, rows)
