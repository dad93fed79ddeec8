"""What a training run came to: a table of figures, restored images, and a picture to look at."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float, UInt8

from armoe_jax.checkpoints.workdir import load_workdir
from armoe_jax.evaluation.pairs import evaluate_pairs
from armoe_jax.images.io import write_image
from armoe_jax.restore import Restorer
from armoe_jax.training.run_info import write_json
from armoe_jax.training.validation import Sample, parse_tile, show_samples
from input_pipeline import pipeline
from input_pipeline.example import Batch

Image = UInt8[np.ndarray, "h w c"]

RESTORED_FOLDER = "restored"
COMPARISON_FILE = "comparison.png"
REPORT_FILE = "evaluation.json"
_BASELINE_BATCHES = 16


def evaluate_workdir(config: Any, workdir: str | Path) -> dict[str, Any]:
    """Restores the configured evaluation images with a run's best checkpoint, and measures them.

    Writes evaluation.json, restored/NAME.png and comparison.png (input, restored, original of the
    first image) into the working directory.

    Args:
        config: The whole configuration.
        workdir: Working directory of a training run.

    Returns:
        The report of `evaluate_pairs`; with config.eval.brightness_baseline each image (and the
        whole) also has "brightness_psnr_y", the PSNR after a constant correction of the input.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: There are no evaluation images, or the checkpoint does not fit config.model.
    """
    workdir = Path(workdir)
    architecture, variables = load_workdir(workdir)
    scale, in_chans = architecture.scale, architecture.in_chans
    pairs = pipeline.eval_pairs(config.data.to_dict(), scale=scale, in_chans=in_chans)
    restorer = Restorer(
        architecture, variables, tile=parse_tile(config.eval.tile), overlap=config.eval.overlap
    )
    shown: list[Sample] = []
    report = evaluate_pairs(
        _keep_first(restorer, pairs, shown),
        _with_log(pairs),
        scale=scale,
        crop_border=config.eval.crop_border,
        save_images=workdir / RESTORED_FOLDER,
    )
    if config.eval.brightness_baseline and scale == 1:
        _add_brightness_baseline(report, config, pairs, in_chans)
    write_json(workdir / REPORT_FILE, report)
    for picture in show_samples(shown).values():
        write_image(workdir / COMPARISON_FILE, picture)
    return report


def mean_correction(
    batches: Iterator[Batch], count: int = _BASELINE_BATCHES
) -> Float[np.ndarray, " c"]:
    """Returns the mean of original minus input for each channel, in gray levels of 0 to 255."""
    differences = []
    for _ in range(count):
        batch = next(batches)
        differences.append((batch["gt"] - batch["lq"]).mean(axis=(0, 1, 2), dtype=np.float64))
    return 255.0 * np.mean(differences, axis=0)


def add_constant(image: Image, correction: Float[np.ndarray, " c"]) -> Image:
    """Returns an image with a constant added to each channel, rounded and clipped."""
    return np.clip(np.rint(image + correction), 0, 255).astype(np.uint8)


def format_report(report: Mapping[str, Any]) -> str:
    """Returns the figures as a table: input, restored, gain, and the baseline if there is one."""
    with_baseline = "brightness_psnr_y" in report
    header = f"{'image':<20} {'input PSNR-Y/SSIM':>18} {'restored':>14} {'gain dB':>8}"
    if with_baseline:
        header += f" {'brightness only':>16}"
    lines = [header, "-" * len(header)]
    for row in [*report["images"], {"name": "mean", **report}]:
        line = f"{row['name'][:20]:<20} {_pair(row, 'lq_'):>18} {_pair(row):>14} "
        line += f"{_gain(row, 'psnr_y'):>8}"
        if with_baseline:
            line += f" {_gain(row, 'brightness_psnr_y'):>16}"
        lines.append(line)
    if with_baseline:
        lines.append(
            "brightness only: the gain of adding one constant to each channel of the input, "
            "estimated on the training images; the colour conversion darkens them by about that"
        )
    return "\n".join(lines)


def _keep_first(
    restorer: Callable[[Image], Image], pairs: Sequence[Any], shown: list[Sample]
) -> Callable[[Image], Image]:
    def restore(lq: Image) -> Image:
        restored = restorer(lq)
        if not shown:
            first = pairs[0]
            shown.append(Sample(first.name, first.lq, restored, first.gt))
        return restored

    return restore


def _with_log(pairs: Sequence[Any]) -> Iterator[Any]:
    for number, pair in enumerate(pairs, start=1):
        logging.info("restoring image %d of %d: %s", number, len(pairs), pair.name)
        yield pair


def _add_brightness_baseline(
    report: dict[str, Any], config: Any, pairs: Sequence[Any], in_chans: int
) -> None:
    with pipeline.train_loader(
        config.data.to_dict(),
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        num_steps=_BASELINE_BATCHES,
        in_chans=in_chans,
    ) as batches:
        correction = mean_correction(batches)
    baseline = evaluate_pairs(
        lambda lq: add_constant(lq, correction), pairs, crop_border=config.eval.crop_border
    )
    report["brightness_correction"] = [round(float(x), 4) for x in correction]
    report["brightness_psnr_y"] = baseline["psnr_y"]
    for image, other in zip(report["images"], baseline["images"], strict=True):
        image["brightness_psnr_y"] = other["psnr_y"]


def _pair(row: Mapping[str, Any], prefix: str = "") -> str:
    psnr, ssim = row[f"{prefix}psnr_y"], row[f"{prefix}ssim_y"]
    return f"{'inf' if psnr is None else f'{psnr:.2f}'} / {'-' if ssim is None else f'{ssim:.4f}'}"


def _gain(row: Mapping[str, Any], name: str) -> str:
    before, after = row["lq_psnr_y"], row[name]
    return "-" if before is None or after is None else f"{after - before:+.2f}"
