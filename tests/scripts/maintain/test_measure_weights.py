"""The tables of the README, with the weights in the box, which have no experts to count."""

import json

import measure_weights
import numpy as np
import pytest
from PIL import Image


def write_squares(folder, count):
    """Writes an image of so many squares a side, of 8x8 pixels and random colours."""
    colors = np.random.default_rng(0).integers(0, 256, (count, count, 3), np.uint8)
    folder.mkdir()
    Image.fromarray(colors.repeat(8, 0).repeat(8, 1)).save(folder / "a.png")


@pytest.mark.slow
def test_weights_without_experts_are_measured_as_the_readme_says(tmp_path):
    write_squares(tmp_path / "gt", 4)
    out = tmp_path / "results"
    words = ["--gt", str(tmp_path / "gt"), "--out", str(out), "--qp", "--quality", "30"]
    assert measure_weights.main(words) == 0
    record = json.loads((out / "jpeg_quality30.json").read_text())
    assert record["num_images"] == 1
    assert "| JPEG quality 30 " in (out / "tables.md").read_text()


@pytest.mark.slow
def test_other_codecs_are_measured_beside(tmp_path):
    write_squares(tmp_path / "gt", 8)
    out = tmp_path / "results"
    words = ["--gt", str(tmp_path / "gt"), "--out", str(out), "--codec", "avc", "av1"]
    assert measure_weights.main([*words, "--qp", "32", "--quality"]) == 0
    table = (out / "tables.md").read_text()
    assert "| AVC QP 32 " in table
    assert "| AV1 CRF 32 " in table
    assert json.loads((out / "avc_qp32.json").read_text())["codec"] == "avc"
