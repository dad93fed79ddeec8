"""What a training run came to: a table of figures, restored images, and a picture to look at."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float, UInt8

from armoe_jax.checkpoints.workdir import load_workdir
from armoe_jax.evaluation.pairs import evaluate_pairs
from armoe_jax.evaluation.record import Evaluation
from armoe_jax.evaluation.tables import BASELINE, image_table
from armoe_jax.images.io import write_image
from armoe_jax.restore import Restorer
from armoe_jax.runtime.json_files import write_json
from armoe_jax.training.validation import Sample, parse_tile, show_samples
from input_pipeline import pipeline
from input_pipeline.example import Batch

Image = UInt8[np.ndarray, "h w c"]

RESTORED_FOLDER = "restored"
COMPARISON_FILE = "comparison.png"
REPORT_FILE = "evaluation.json"
_BASELINE_BATCHES = 16


def evaluate_workdir(config: Any, workdir: str | Path) -> Evaluation:
    """Restores the configured evaluation images with a run's best checkpoint, and measures them.

    Writes evaluation.json, restored/NAME.png and comparison.png (input, restored, original of the
    first image) into the working directory.

    Args:
        config: The whole configuration.
        workdir: Working directory of a training run.

    Returns:
        The record of `evaluate_pairs`; with config.eval.brightness_baseline also with the figure
        "brightness_psnr_y", the PSNR after a constant correction of the input.

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
        report = _with_brightness_baseline(report, config, pairs, in_chans)
    write_json(workdir / REPORT_FILE, report.to_dict())
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


def format_report(report: Evaluation) -> str:
    """Returns the figures as a table: input, restored, gain, and the baseline if there is one."""
    table = image_table(report)
    if BASELINE not in report.means:
        return table
    return (
        f"{table}\nbrightness only: the gain of adding one constant to each channel of the input, "
        "estimated on the training images; the colour conversion darkens them by about that"
    )


def _keep_first(
    restorer: Callable[..., Image], pairs: Sequence[Any], shown: list[Sample]
) -> Callable[..., Image]:
    def restore(lq: Image, **coding: Any) -> Image:
        restored = restorer(lq, **coding)
        if not shown:
            first = pairs[0]
            shown.append(Sample(first.name, first.lq, restored, first.gt))
        return restored

    return restore


def _with_log(pairs: Sequence[Any]) -> Iterator[Any]:
    for number, pair in enumerate(pairs, start=1):
        logging.info("restoring image %d of %d: %s", number, len(pairs), pair.name)
        yield pair


def _with_brightness_baseline(
    report: Evaluation, config: Any, pairs: Sequence[Any], in_chans: int
) -> Evaluation:
    with pipeline.train_loader(
        config.data.to_dict(),
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        num_steps=_BASELINE_BATCHES,
        in_chans=in_chans,
    ) as batches:
        correction = mean_correction(batches)
    baseline = evaluate_pairs(
        lambda lq, **_: add_constant(lq, correction), pairs, crop_border=config.eval.crop_border
    )
    images = tuple(
        dataclasses.replace(image, figures={**image.figures, BASELINE: other.figures["psnr_y"]})
        for image, other in zip(report.images, baseline.images, strict=True)
    )
    levels = tuple(round(float(x), 4) for x in correction)
    return dataclasses.replace(report, images=images, brightness_correction=levels)
