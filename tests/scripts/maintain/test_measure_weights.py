"""The tables of the README, with the weights in the box, which have no experts to count."""

import json

import measure_weights
import numpy as np
import pytest
from PIL import Image


@pytest.mark.slow
def test_weights_without_experts_are_measured_as_the_readme_says(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    (tmp_path / "gt").mkdir()
    Image.fromarray(pixels.repeat(8, 0).repeat(8, 1)).save(tmp_path / "gt" / "a.png")
    out = tmp_path / "results"
    words = ["--gt", str(tmp_path / "gt"), "--out", str(out), "--qp", "--quality", "30"]
    assert measure_weights.main(words) == 0
    record = json.loads((out / "jpeg_quality30.json").read_text())
    assert record["num_images"] == 1
    assert "| JPEG quality 30 " in (out / "tables.md").read_text()


@pytest.mark.slow
def test_other_codecs_are_measured_beside(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    (tmp_path / "gt").mkdir()
    Image.fromarray(pixels.repeat(8, 0).repeat(8, 1)).save(tmp_path / "gt" / "a.png")
    out = tmp_path / "results"
    words = ["--gt", str(tmp_path / "gt"), "--out", str(out), "--codec", "avc", "av1"]
    assert measure_weights.main([*words, "--qp", "32", "--quality"]) == 0
    table = (out / "tables.md").read_text()
    assert "| AVC QP 32 " in table
    assert "| AV1 CRF 32 " in table
    assert json.loads((out / "avc_qp32.json").read_text())["codec"] == "avc"
