"""Measuring pairs, the paper's rows, and the tables."""

import csv
import dataclasses
import io
import json
import math
import os
from typing import NamedTuple

import numpy as np
import pytest

from armoe_jax.evaluation.pairs import evaluate_pairs
from armoe_jax.evaluation.published import CAR_ROWS, published_row
from armoe_jax.evaluation.record import Evaluation, Failure, ImageRecord
from armoe_jax.evaluation.tables import (
    image_table,
    markdown,
    overview_table,
    summary_table,
    to_csv,
    usage_table,
)
from armoe_jax.images.io import read_image
from armoe_jax.metrics import ms_ssim, psnr, psnr_b, ssim
from armoe_jax.ops.resize import imresize


class Pair(NamedTuple):
    name: str
    lq: np.ndarray
    gt: np.ndarray


def noisy_pair(name, height=20, width=24, seed=0):
    rng = np.random.default_rng(seed)
    gt = rng.integers(0, 256, (height, width, 3), np.uint8)
    lq = np.clip(gt + rng.normal(0, 8, gt.shape), 0, 255).astype(np.uint8)
    return Pair(name, lq, gt)


def halfway(pair):
    """A network that removes half of the error."""
    return lambda lq: ((lq.astype(int) + pair.gt) // 2).astype(np.uint8)


def test_record_has_the_documented_form(tmp_path):
    pairs = [noisy_pair("a", seed=1), noisy_pair("b", seed=2)]
    report = evaluate_pairs(lambda lq: lq, pairs, crop_border=2, save_images=tmp_path).to_dict()
    assert set(report) == {
        *("num_images", "psnr_y", "ssim_y", "lq_psnr_y", "lq_ssim_y", "images"),
        "seconds_per_image",
    }
    assert report["num_images"] == 2
    assert [image["name"] for image in report["images"]] == ["a", "b"]
    for pair, image in zip(pairs, report["images"], strict=True):
        assert image["psnr_y"] == image["lq_psnr_y"] == psnr(pair.lq, pair.gt, crop_border=2)
        assert image["ssim_y"] == image["lq_ssim_y"] == ssim(pair.lq, pair.gt, crop_border=2)
        np.testing.assert_array_equal(read_image(tmp_path / f"{pair.name}.png").pixels, pair.lq)
    assert report["psnr_y"] == pytest.approx(
        (report["images"][0]["psnr_y"] + report["images"][1]["psnr_y"]) / 2
    )
    json.dumps(report, allow_nan=False)


def test_extended_record():
    pair = noisy_pair("a", 170, 180)
    restored = halfway(pair)(pair.lq)
    report = evaluate_pairs(halfway(pair), [pair], extended=True).means
    assert report["psnr_rgb"] == psnr(restored, pair.gt, y_only=False)
    assert report["ssim_rgb"] == ssim(restored, pair.gt, y_only=False)
    assert report["psnr_b"] == psnr_b(restored, pair.gt)
    assert report["ms_ssim"] == ms_ssim(restored, pair.gt)
    assert report["lq_ms_ssim"] == ms_ssim(pair.lq, pair.gt)
    # Half of the error is a quarter of its square: 6 dB.
    assert report["gain_psnr_y"] == pytest.approx(6.0, abs=0.5)
    assert report["gain_ssim_y"] == report["ssim_y"] - report["lq_ssim_y"]


def test_infinite_and_undefined_values_are_null():
    pair = noisy_pair("a", 10, 40)
    report = evaluate_pairs(lambda lq: pair.gt, [pair], extended=True).to_dict()
    assert report["psnr_y"] is None
    assert report["gain_psnr_y"] is None
    assert report["lq_psnr_y"] > 0
    # 10 rows hold no window of SSIM, 161 are needed for MS-SSIM.
    assert report["ssim_y"] is report["lq_ssim_rgb"] is report["ms_ssim"] is None
    json.dumps(report, allow_nan=False)


def test_upscaling_is_compared_with_bicubic():
    pair = noisy_pair("a", 41, 61)
    lq = pair.lq[:20, :30]
    report = evaluate_pairs(
        lambda image: np.kron(image, np.ones((2, 2, 1), np.uint8)),
        [Pair("a", lq, pair.gt)],
        scale=2,
        crop_border=2,
    ).means
    bicubic = np.rint(np.clip(imresize(lq.astype(np.float32) / 255, 2.0), 0, 1) * 255)
    gt = pair.gt[:40, :60]
    assert report["lq_psnr_y"] == psnr(bicubic.astype(np.uint8), gt, crop_border=2)
    assert report["psnr_y"] == psnr(np.kron(lq, np.ones((2, 2, 1), np.uint8)), gt, crop_border=2)


def test_errors_name_the_image():
    pair = noisy_pair("kodim07")
    with pytest.raises(ValueError, match=r"kodim07: the original has shape \(20, 24, 3\)"):
        evaluate_pairs(lambda lq: lq, [pair._replace(lq=pair.lq[:19])])
    with pytest.raises(ValueError, match="kodim07: crop_border 10 leaves nothing"):
        evaluate_pairs(lambda lq: lq, [pair], crop_border=10)
    with pytest.raises(TypeError, match="kodim07: image is float64"):
        evaluate_pairs(lambda lq: lq / 2, [pair])
    with pytest.raises(ValueError, match="names must be unique"):
        evaluate_pairs(lambda lq: lq, [pair, pair])
    with pytest.raises(ValueError, match="no pairs"):
        evaluate_pairs(lambda lq: lq, [])


def test_published_rows():
    row = published_row("Kodak24", qp=27, scale=1)
    assert (row.input_psnr_y, row.psnr_y, row.ssim_y) == (38.61, 39.56, 0.9603)
    assert published_row("set5", qp=None, scale=2).psnr_y == 38.19
    assert published_row("kodak24", qp=None, scale=1) is None
    assert published_row("kodak24", qp=27, scale=2) is None
    assert published_row("mine", qp=27, scale=1) is None
    # In every row the paper's network gains, and less at low quality.
    for name in ("kodak24", "mcmaster", "cbsd68"):
        rows = [CAR_ROWS[name, qp] for qp in (22, 27, 32, 37)]
        gains = [row.psnr_y - row.input_psnr_y for row in rows]
        assert gains == sorted(gains, reverse=True)
        assert min(gains) > 0


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


def evaluation(images, **fields):
    """A record of rows (name, lq_psnr_y, psnr_y, chosen experts); SSIM falls with PSNR."""
    rows = []
    for name, before, after, expert in images:
        gain = None if after is None else after - before
        figures = {"psnr_y": after, "lq_psnr_y": before, "gain_psnr_y": gain}
        figures |= {"lq_ssim_y": 0.9, "ssim_y": 0.91, "gain_psnr_rgb": 0.2}
        rows.append(ImageRecord(name, figures, expert))
    return Evaluation(tuple(rows), seconds_per_image=1.234, **fields)


IMAGES = [("a", 30.0, 30.54, (0, 1)), ("b", 30.0, 29.96, (1, 1))]
VVC, JPEG = {"codec": "vvc", "qp": 27}, {"codec": "jpeg", "qp": 10}


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


class Unreadable(NamedTuple):
    """A pair whose file is damaged."""

    name: str = "broken"

    @property
    def lq(self):
        raise ValueError("in/broken.png: cannot be read as an image")

    gt = lq


def test_a_bad_pair_is_listed_and_the_rest_measured(tmp_path):
    good, small = noisy_pair("a"), noisy_pair("b")
    pairs = [Unreadable(), good, small._replace(gt=small.gt[:9])]
    measured = evaluate_pairs(lambda lq: lq, iter(pairs), keep_going=True, save_images=tmp_path)
    assert [image.name for image in measured.images] == ["a"]
    assert measured.means["psnr_y"] == psnr(good.lq, good.gt)
    assert [failure.name for failure in measured.failed] == ["broken", "b"]
    assert measured.failed[0].reason == "in/broken.png: cannot be read as an image"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(ValueError, match=r"in/broken\.png"):
        evaluate_pairs(lambda lq: lq, iter([Unreadable()]), keep_going=True)
    with pytest.raises(ValueError, match=r"in/broken\.png"):
        evaluate_pairs(lambda lq: lq, iter(pairs))


def test_the_record_survives_json():
    whole = evaluation(
        IMAGES,
        failed=(Failure("c", "damaged"),),
        expert_names=("dct", "haar"),
        coding=VVC | {"settings": {"preset": "faster"}},
        published={"psnr_y": 39.56},
        brightness_correction=(0.5, -1.0, 0.25),
    )
    record = json.loads(json.dumps(whole.to_dict(), allow_nan=False))
    assert record["failed"] == [{"name": "c", "reason": "damaged"}]
    assert record["psnr_y"] == pytest.approx(30.25)
    assert Evaluation.from_dict(record) == whole
