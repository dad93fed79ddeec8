"""An evaluation's record as CSV and as Markdown."""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence

import numpy as np

from armoe_jax.evaluation.record import Evaluation, Figures
from armoe_jax.models.routing import count_choices
from armoe_jax.runtime.errors import printable

LABELS = {
    "psnr_y": "PSNR-Y (dB)",
    "ssim_y": "SSIM-Y",
    "psnr_rgb": "PSNR-RGB (dB)",
    "ssim_rgb": "SSIM-RGB",
    "psnr_b": "PSNR-B (dB)",
    "ms_ssim": "MS-SSIM",
}
"""Figure -> heading, in the order of the tables."""

BASELINE = "brightness_psnr_y"
"""Figure of the best constant correction of the input, which evaluations of training may have."""

MISSING = "-"


def to_csv(evaluation: Evaluation) -> str:
    """Returns one line for each image and a last one, `mean`; missing values are empty.

    Names have escapes for what cannot be shown, and an apostrophe before what spreadsheets would
    take for a formula.
    """
    rows = [image.to_dict() | {"name": _csv_name(image.name)} for image in evaluation.images]
    rows.append({"name": "mean", **evaluation.means})
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _csv_name(name: str) -> str:
    return printable(f"'{name}" if name.startswith(("=", "+", "-", "@")) else name)


def _markdown_name(name: str) -> str:
    """Returns a name with what Markdown would act on escaped; not "_" within a word."""
    return re.sub(r"[\\`*\[\]<>|~&$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", printable(name))


def summary_table(evaluation: Evaluation) -> str:
    """Returns a Markdown table: a row for each figure; input, restored, gain, and the paper's."""
    means, published = evaluation.means, evaluation.published
    header = ["", "input", "restored", "gain"]
    header += ["paper: input", "paper: ARMoE"] if published else []
    rows = []
    for name in (name for name in LABELS if name in means):
        row = [LABELS[name], *_input_restored_gain(means, name)]
        if published:
            row += [number(name, published.get(key)) for key in (f"input_{name}", name)]
        rows.append(row)
    return markdown(header, rows)


def image_table(
    evaluation: Evaluation,
    *,
    figures: Sequence[str] = ("psnr_y", "ssim_y"),
    worst_first: bool = False,
    most: int | None = None,
) -> str:
    """Returns a Markdown table: a row for each image and one of means.

    Args:
        evaluation: What was measured.
        figures: Names in LABELS; of each, input, restored and gain.
        worst_first: Sort by the gain of the first figure, the least first; else as evaluated.
        most: Rows of images at most.
    """
    header = ["image"]
    for name in figures:
        header += [f"input {LABELS[name].removesuffix(' (dB)')}", "restored", "gain"]
    baseline = BASELINE in evaluation.means
    header += ["brightness only"] if baseline else []

    def cells(name: str, values: Figures) -> list[str]:
        row = [cell for figure in figures for cell in _input_restored_gain(values, figure)]
        if baseline:
            gain = difference(values[BASELINE], values["lq_psnr_y"])
            row.append(number("psnr_y", gain, signed=True))
        return [_markdown_name(name), *row]

    images = list(evaluation.images)
    if worst_first:
        images.sort(key=lambda image: (_rank(image.figures, figures[0]), image.name))
    rows = [cells(image.name, image.figures) for image in images[:most]]
    return markdown(header, [*rows, cells("mean", evaluation.means)])


def overview_table(evaluations: Iterable[Evaluation]) -> str:
    """Returns a Markdown table of several extended evaluations: a row of means for each."""
    header = ["", "input", "restored", "gain", "worst image", "SSIM-Y", "PSNR-RGB gain", "seconds"]
    rows = []
    for evaluation in evaluations:
        means = evaluation.means
        gains = [image.figures["gain_psnr_y"] for image in evaluation.images]
        worst = None if None in gains else min(gain for gain in gains if gain is not None)
        ssim = [number("ssim_y", means[key]) for key in ("lq_ssim_y", "ssim_y")]
        rows.append(
            [
                evaluation.condition,
                *_input_restored_gain(means, "psnr_y"),
                number("psnr_y", worst, signed=True),
                " to ".join(ssim),
                number("psnr_rgb", means["gain_psnr_rgb"], signed=True),
                f"{evaluation.seconds_per_image:.2f}",
            ]
        )
    return markdown(header, rows)


def usage_table(evaluations: Iterable[Evaluation]) -> str:
    """Returns a Markdown table of evaluations of one network: images in percent for each expert."""
    header, rows = ["", "layer"], []
    for evaluation in evaluations:
        header[2:] = evaluation.expert_names
        chosen = np.array([image.expert for image in evaluation.images]).T
        counts = count_choices(chosen, len(evaluation.expert_names))
        for layer, row in enumerate(counts / len(evaluation.images)):
            rows.append([evaluation.condition, str(layer), *(f"{share:.0%}" for share in row)])
    return markdown(header, rows)


def difference(a: float | None, b: float | None) -> float | None:
    """Returns a - b; None if either is unknown or infinite."""
    return None if a is None or b is None else a - b


def _input_restored_gain(values: Figures, name: str) -> list[str]:
    before, after = values[f"lq_{name}"], values[name]
    gain = number(name, difference(after, before), signed=True)
    return [number(name, before), number(name, after), gain]


def _rank(values: Figures, name: str) -> float:
    """Returns the gain; above all others for images without loss."""
    gain = difference(values[name], values[f"lq_{name}"])
    return math.inf if gain is None else gain


def number(name: str, value: float | int | None, *, signed: bool = False) -> str:
    """Returns a figure with the digits that papers print: 2 for decibels (3 here), 4 for SSIM."""
    if value is None:
        return MISSING
    digits = 3 if name.startswith("psnr") else 4
    return f"{value:{'+' if signed else ''}.{digits}f}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table with columns of even width, numbers to the right."""
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    lines = [
        "| "
        + " | ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in table
    ]
    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])
