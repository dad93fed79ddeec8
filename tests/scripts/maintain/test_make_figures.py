"""The figures of the README are those that the script makes."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "docs" / "figures"


@pytest.fixture(scope="module")
def figures():
    path = ROOT / "scripts" / "maintain" / "make_figures.py"
    spec = importlib.util.spec_from_file_location("make_figures", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_drawings_and_badges_are_up_to_date(figures, tmp_path, capsys):
    names = [name for name in figures.FIGURES if name.endswith(".svg")]
    assert figures.main(["--out", str(tmp_path), "--only", *names]) == 0
    for name in names:
        assert (tmp_path / name).read_bytes() == (COMMITTED / name).read_bytes(), name
    assert capsys.readouterr().out.count(" kB\n") == len(names)


def test_all_figures_are_there_and_small():
    sizes = {path.name: path.stat().st_size for path in COMMITTED.iterdir()}
    assert {"before_after.png", "network.svg"} <= set(sizes)
    assert sum(sizes.values()) < 300_000


def test_panels_show_the_crop_and_its_enlarged_part(figures, monkeypatch):
    monkeypatch.setattr(figures, "code_and_restore", lambda image: (image // 2, image))
    sheet = np.asarray(Image.open(io.BytesIO(figures.before_after())))
    left, top, width, height = figures.CROP
    (path,) = (p for p in figures.embedded_images("eval") if p.stem == figures.PHOTOGRAPH)
    crop = np.asarray(Image.open(path))[top : top + height, left : left + width]
    right = sheet[:, -width:]
    np.testing.assert_array_equal(right[:3, :width], crop[:3])
    np.testing.assert_array_equal(sheet[:3, :width], crop[:3] // 2)
    x, y, part_width, _ = figures.DETAIL
    scale = width // part_width
    np.testing.assert_array_equal(right[height + figures.GAP, ::scale], crop[y, x : x + part_width])
    assert sheet.shape == np.asarray(Image.open(COMMITTED / "before_after.png")).shape


@pytest.mark.slow
def test_the_photograph_was_restored_with_the_shipped_weights(figures):
    made = np.asarray(Image.open(io.BytesIO(figures.before_after())), np.int16)
    kept = np.asarray(Image.open(COMMITTED / "before_after.png"), np.int16)
    # Processors may round a level otherwise here and there.
    assert np.abs(made - kept).mean() < 0.1
