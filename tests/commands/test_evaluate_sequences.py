"""`armoe-jax evaluate` on sequences of YUV pictures."""

import json
from argparse import Namespace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from armoe_jax.cli import main
from armoe_jax.commands.evaluate_sequences import names_sequences
from armoe_jax.commands.options import Restorers
from armoe_jax.video import yuv


class Same:
    """A restorer that changes nothing."""

    config = SimpleNamespace(scale=1)

    def __call__(self, picture):
        return picture


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two sequences that differ by two levels of luma."""
    monkeypatch.setattr(Restorers, "__call__", lambda self, name: Same())
    header = yuv.VideoHeader(yuv.YuvFormat(8, 8, "444"), Fraction(25))
    for name, level in (("a", 100), ("b", 102)):
        with yuv.Y4mWriter(tmp_path / f"{name}.y4m", header) as file:
            file.write(tuple(np.full((8, 8), value, np.uint8) for value in (level, 128, 129)))
    return [f"--{key}={tmp_path / name}" for key, name in (("gt", "a.y4m"), ("lq", "b.y4m"))]


def test_table_and_json(files, tmp_path, capsys):
    out = tmp_path / "figures.json"
    assert main(["evaluate", *files, f"--json={out}", f"--markdown={tmp_path / 't.md'}"]) == 0
    # 10 log10(255^2 / 4)
    assert json.loads(out.read_text())["psnr_y"] == pytest.approx(42.1102, abs=5e-5)
    table = capsys.readouterr().out
    assert "6:1:1" in table
    assert (tmp_path / "t.md").read_text() == table
    assert table.splitlines()[-1].split("|")[2:4] == [" 42.110 ", " +0.000 "]


def test_flags_of_images_are_refused(files, capsys):
    assert main(["evaluate", *files, "--csv=figures.csv"]) == 2
    assert "--csv is for images" in capsys.readouterr().err


def test_folders_of_images_stay_images(files, tmp_path):
    names = Namespace(gt=str(tmp_path))
    (tmp_path / "README.txt").touch()
    assert names_sequences(names)
    (tmp_path / "c.png").touch()
    assert not names_sequences(names)
    assert names_sequences(Namespace(gt=str(tmp_path / "a.y4m")))
    assert not names_sequences(Namespace(gt=str(tmp_path / "missing.y4m")))
