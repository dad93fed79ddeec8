"""An evaluation's record as CSV and as Markdown."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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

MISSING = "-"


def to_csv(report: Mapping[str, Any]) -> str:
    """Returns one line for each image and a last one, `mean`; missing values are empty.

    Names have escapes for what cannot be shown, and an apostrophe before what spreadsheets would
    take for a formula.
    """
    images = [row | {"name": _csv_name(row["name"])} for row in report["images"]]
    rows = [*images, mean_row(report)]
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


def mean_row(report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the means as a row like those of the images, of what has a mean."""
    return {"name": "mean", **{key: report[key] for key in report["images"][0] if key in report}}


def summary_table(report: Mapping[str, Any]) -> str:
    """Returns a Markdown table: a row for each figure; input, restored, gain, and the paper's."""
    published = report.get("published")
    header = ["", "input", "restored", "gain"]
    header += ["paper: input", "paper: ARMoE"] if published else []
    rows = []
    for name in (name for name in LABELS if name in report):
        row = [
            LABELS[name],
            number(name, report[f"lq_{name}"]),
            number(name, report[name]),
            number(name, report.get(f"gain_{name}"), signed=True),
        ]
        if published:
            row += [number(name, published.get(key)) for key in (f"input_{name}", name)]
        rows.append(row)
    return markdown(header, rows)


def image_table(report: Mapping[str, Any]) -> str:
    """Returns a Markdown table: a row for each image and one of means, on luma."""
    header = ["image", "input PSNR-Y", "restored", "gain", "input SSIM-Y", "restored", "gain"]
    rows = []
    for row in [*report["images"], mean_row(report)]:
        cells = [_markdown_name(row["name"])]
        for name in ("psnr_y", "ssim_y"):
            cells += [
                number(name, row[f"lq_{name}"]),
                number(name, row[name]),
                number(name, row.get(f"gain_{name}"), signed=True),
            ]
        rows.append(cells)
    return markdown(header, rows)


def overview_table(reports: Iterable[Mapping[str, Any]]) -> str:
    """Returns a Markdown table of several evaluations: a row for each, means over its images.

    Args:
        reports: Records of extended evaluations, with `codec` and `qp`.
    """
    header = ["", "input", "restored", "gain", "worst image", "SSIM-Y", "PSNR-RGB gain", "seconds"]
    rows = []
    for report in reports:
        gains = [image["gain_psnr_y"] for image in report["images"]]
        worst = None if None in gains else min(gains)
        ssim = [number("ssim_y", report[key]) for key in ("lq_ssim_y", "ssim_y")]
        rows.append(
            [
                condition(report),
                number("psnr_y", report["lq_psnr_y"]),
                number("psnr_y", report["psnr_y"]),
                number("psnr_y", report["gain_psnr_y"], signed=True),
                number("psnr_y", worst, signed=True),
                " to ".join(ssim),
                number("psnr_rgb", report["gain_psnr_rgb"], signed=True),
                f"{report['seconds_per_image']:.2f}",
            ]
        )
    return markdown(header, rows)


def usage_table(reports: Iterable[Mapping[str, Any]]) -> str:
    """Returns a Markdown table of several evaluations: images in percent for each expert.

    Args:
        reports: Records with `expert_names` and each image's `expert`, of one network.
    """
    header, rows = ["", "layer"], []
    for report in reports:
        names, images = report["expert_names"], report["images"]
        header[2:] = names
        for layer in range(len(images[0]["expert"])):
            chosen = [image["expert"][layer] for image in images]
            shares = [chosen.count(index) / len(images) for index in range(len(names))]
            rows.append([condition(report), str(layer), *(f"{share:.0%}" for share in shares)])
    return markdown(header, rows)


def condition(report: Mapping[str, Any]) -> str:
    """Returns what the inputs of an evaluation were coded with, such as "VVC QP 27"."""
    if "codec" not in report:
        return "given images"
    measure = "quality" if report["codec"] == "jpeg" else "QP"
    return f"{report['codec'].upper()} {measure} {report['qp']}"


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
