"""Tables and CSV of evaluations."""

import csv
import dataclasses
import io
import math
import os

import pytest
from made_evaluations import IMAGES, JPEG, VVC, evaluation, halfway, noisy_pair

from armoe_jax.evaluation.pairs import evaluate_pairs
from armoe_jax.evaluation.published import published_row
from armoe_jax.evaluation.tables import (
    image_table,
    markdown,
    overview_table,
    summary_table,
    to_csv,
    usage_table,
)
from armoe_jax.metrics import psnr_b


@pytest.fixture(scope="module")
def report():
    pair = noisy_pair("a", 30, 40)
    evaluation = evaluate_pairs(halfway(pair), [pair], extended=True)
    published = published_row("kodak24", qp=27, scale=1).to_dict()
    return dataclasses.replace(evaluation, published=published)


def test_csv_has_a_line_an_image_and_means(report):
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert [row["name"] for row in rows] == ["a", "mean"]
    assert float(rows[1]["psnr_y"]) == report.means["psnr_y"]
    assert rows[0]["ms_ssim"] == ""


def test_markdown_tables(report):
    lines = summary_table(report).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[2:-1]] == [
        *("input", "restored", "gain", "paper: input", "paper: ARMoE"),
    ]
    psnr_row = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert psnr_row[0] == "PSNR-Y (dB)"
    assert psnr_row[1] == f"{report.means['lq_psnr_y']:.3f}"
    assert psnr_row[3].startswith("+")
    assert psnr_row[4:] == ["38.610", "39.560"]
    assert "| MS-SSIM" in lines[-1]
    assert lines[-1].count(" - ") == 5
    assert len(image_table(report).splitlines()) == 4
    assert len({len(line) for line in lines}) == 1


HOSTILE = {
    "plain_name": ("plain_name", "plain_name"),
    "a|b,c": ("a|b,c", r"a\|b,c"),
    'say "x"': ('say "x"', 'say "x"'),
    "=1+2": ("'=1+2", "=1+2"),
    "-a": ("'-a", "-a"),
    "<b>*x*</b>": ("<b>*x*</b>", r"\<b\>\*x\*\</b\>"),
    "_[a](b)`": ("_[a](b)`", r"\_\[a\](b)\`"),
    "two\nlines\r": (r"two\nlines\r", r"two\\nlines\\r"),
    os.fsdecode(b"caf\xe9"): (r"caf\udce9", r"caf\\udce9"),
}


def test_names_in_tables_are_escaped(report):
    rows = tuple(dataclasses.replace(report.images[0], name=name) for name in HOSTILE)
    hostile = dataclasses.replace(report, images=rows)
    text = to_csv(hostile)
    seen = [row["name"] for row in csv.DictReader(io.StringIO(text.encode().decode()))]
    assert seen == [*(in_csv for in_csv, _ in HOSTILE.values()), "mean"]
    lines = image_table(hostile).encode().decode().splitlines()
    assert len(lines) == 3 + len(HOSTILE)
    for line, (_, in_markdown) in zip(lines[2:], HOSTILE.values(), strict=False):
        assert line.startswith(f"| {in_markdown} ")


def test_markdown_by_hand():
    table = markdown(["", "b"], [["row", "1.5"], ["longer", "-"]])
    assert table.splitlines() == [
        "|        |   b |",
        "| ------ | --: |",
        "| row    | 1.5 |",
        "| longer |   - |",
    ]
    assert math.isclose(1.5, float(table.splitlines()[2].split("|")[2]))


def cells(table):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def test_overview_of_several_evaluations():
    infinite = [IMAGES[0], ("b", 30.0, None, ())]
    evaluations = [
        evaluation(IMAGES, coding=VVC),
        evaluation(infinite, coding=JPEG),
        evaluation(IMAGES),
    ]
    rows = cells(overview_table(evaluations))
    ssim_and_rest = ["0.9000 to 0.9100", "+0.200", "1.23"]
    assert rows[2] == ["VVC QP 27", "30.000", "30.250", "+0.250", "-0.040", *ssim_and_rest]
    assert rows[3][:5] == ["JPEG quality 10", "30.000", "-", "-", "-"]
    assert rows[4][0] == "given images"


def test_usage_of_experts():
    # Layer 0 sent a to dct and b to haar, layer 1 both to haar.
    used = evaluation(IMAGES, coding=VVC, expert_names=("dct", "haar"))
    assert usage_table([used]).splitlines() == [
        "|           | layer | dct | haar |",
        "| --------- | ----: | --: | ---: |",
        "| VVC QP 27 |     0 | 50% |  50% |",
        "| VVC QP 27 |     1 |  0% | 100% |",
    ]


def test_the_worst_images_come_first():
    images = [*IMAGES, ("c", 40.0, None, ()), ("d", 20.0, 20.1, ())]
    table = cells(image_table(evaluation(images), worst_first=True))
    assert [row[0] for row in table[2:]] == ["b", "d", "a", "c", "mean"]
    assert [row[3] for row in table[2:]] == ["-0.040", "+0.100", "+0.540", "-", "-"]
    table = cells(image_table(evaluation(images), worst_first=True, most=2))
    assert [row[0] for row in table[2:]] == ["b", "d", "mean"]


def test_further_figures_get_columns():
    pair = noisy_pair("a", 30, 40)
    measured = evaluate_pairs(halfway(pair), [pair], extended=True)
    header, _, row, mean = cells(image_table(measured, figures=("psnr_y", "psnr_b")))
    assert header == [
        "image",
        "input PSNR-Y",
        *(rest := ["restored", "gain"]),
        "input PSNR-B",
        *rest,
    ]
    assert row[1:] == mean[1:]
    assert row[5] == f"{psnr_b(halfway(pair)(pair.lq), pair.gt):.3f}"
