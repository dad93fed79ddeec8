"""What a training run was: the facts that are kept beside weights that come with the package."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from armoe_jax.runtime.errors import UserError
from armoe_jax.training.metric_writer import METRICS_FILE, read_metrics
from armoe_jax.training.run_info import ENVIRONMENT_FILE

MEAN_TOLERANCE = 1e-3
"""Relative; another order of the same sums, in a later revision of the program, makes 1e-4."""

_FIGURES = ("lq_psnr_y", "psnr_y", "gain_psnr_y", "lq_ssim_y", "ssim_y", "gain_psnr_rgb")


def starts_of(workdir: Path) -> list[dict[str, Any]]:
    """Returns how the run was started, and each time continued: step, command, versions.

    Raises:
        FileNotFoundError: The folder holds no training run.
    """
    path = workdir / ENVIRONMENT_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is absent; give the working directory of a training run")
    return json.loads(path.read_text())["starts"]


def training_facts(workdir: Path, step: int) -> dict[str, Any]:
    """Returns duration, speed and curves of a run up to a step, from its metrics file.

    Args:
        workdir: Working directory of the run.
        step: Steps taken by the weights in question.

    Returns:
        `hours`: wall-clock time of the steps, without validation; `images_per_second`, the median;
        `curve`: [step, PSNR-Y in dB, input's PSNR-Y] of every validation.
    """
    lines = [line for line in read_metrics(workdir / METRICS_FILE) if line["step"] <= step]
    timed = [line for line in lines if "seconds_per_step" in line]
    if not timed:
        raise UserError(f"{workdir / METRICS_FILE} has no line up to step {step}")
    seconds, before = 0.0, 0
    for line in timed:
        seconds += line["seconds_per_step"] * (line["step"] - before)
        before = line["step"]
    return {
        "hours": round(seconds / 3600, 2),
        "images_per_second": round(statistics.median(x["images_per_second"] for x in timed), 1),
        "curve": [
            [line["step"], round(line["eval/psnr_y"], 4), round(line["eval/lq_psnr_y"], 4)]
            for line in lines
            if "eval/psnr_y" in line
        ],
    }


def check_first_losses(workdir: Path, losses: Sequence[float]) -> int:
    """Compares repeated losses with what the run itself has logged.

    Returns:
        How many logged means were compared.

    Raises:
        UserError: One differs, or the run logged none of so few steps.
    """
    compared = before = 0
    for line in read_metrics(workdir / METRICS_FILE):
        step = line["step"]
        if "loss" not in line or step > len(losses):
            continue
        mean = statistics.fmean(losses[before:step])
        if abs(mean - line["loss"]) > MEAN_TOLERANCE * abs(line["loss"]):
            raise UserError(
                f"{workdir} logged the mean loss {line['loss']} for steps {before + 1} to {step}, "
                f"but repeating them gives {mean}; its configuration, data or program has changed"
            )
        compared, before = compared + 1, step
    if not compared:
        raise UserError(
            f"{workdir} has no metrics within its first {len(losses)} steps; repeat more of them"
        )
    return compared


def masked(value: Any, places: Mapping[str, str]) -> Any:
    """Replaces folders of this machine by names, in texts anywhere inside lists and mappings.

    Args:
        value: JSON-able.
        places: Name -> path, such as {"DATA": "/home/me/data"}.

    Raises:
        UserError: A text still is, or ends in, an absolute path.
    """
    if isinstance(value, Mapping):
        return {key: masked(item, places) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(item, places) for item in value]
    if not isinstance(value, str):
        return value
    for name, path in sorted(places.items(), key=lambda place: -len(place[1])):
        value = value.replace(path, name)
    if value.rpartition("=")[2].startswith("/"):
        raise UserError(
            f"{value!r} is a path of this machine; give it a name with --place NAME=PATH"
        )
    return value


def unmasked(value: Any, places: Mapping[str, str]) -> Any:
    """Puts folders in the place of their names, and tuples in the place of lists.

    Args:
        value: What `masked` returned.
        places: Name -> path on this machine.
    """
    if isinstance(value, Mapping):
        return {key: unmasked(item, places) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(unmasked(item, places) for item in value)
    if isinstance(value, str):
        head, slash, rest = value.partition("/")
        return places.get(head, head) + slash + rest
    return value


def summarize_evaluation(report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a model card tells of a record of `armoe-jax evaluate --json`.

    Raises:
        UserError: The record does not say what its inputs were coded with.
    """
    if "codec" not in report:
        raise UserError(
            "the evaluation does not know its codec: use --jpeg-quality, or as --lq the folder "
            "of a tree of build-dataset"
        )
    images = report["images"]
    summary = {key: report[key] for key in ("codec", "qp", "num_images", *_FIGURES)}
    summary["settings"] = report["settings"]
    summary["colors"] = report.get("colors", "clean")
    summary["seconds_per_image"] = report["seconds_per_image"]
    gains = {image["name"]: image["gain_psnr_y"] for image in images}
    worst = min(gains, key=lambda name: gains[name])
    summary["worst_image"] = {"name": worst, "gain_psnr_y": gains[worst]}
    if "expert_names" in report:
        summary["expert_names"] = report["expert_names"]
        summary["images"] = [
            {"gain_psnr_y": image["gain_psnr_y"], "expert": image["expert"]} for image in images
        ]
    return summary
