"""`armoe-jax demo`, on real photographs and with the weights in the box."""

import json
import subprocess
import sys

import pytest

import configs
from armoe_jax import cli
from armoe_jax.checkpoints import shipped
from armoe_jax.commands import demo
from armoe_jax.images.io import read_image

# Stops at the first line that the command writes, and tells what was loaded until then.
FIRST_LINE = """
import sys
from armoe_jax import cli

class Stop(BaseException):
    pass

class Output:
    def write(self, line):
        raise Stop(line)

sys.stdout = Output()
try:
    cli.main(["demo"])
except Stop as stop:
    sys.stdout = sys.__stdout__
    print(stop, "jax" in sys.modules, file=sys.stderr)
"""


def test_says_what_it_does_before_anything_slow_is_loaded(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FIRST_LINE], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert " ".join(done.stderr.split()) == (
        "restoring photographs that were coded strongly; this takes about a minute False"
    )


@pytest.mark.slow
def test_pictures_get_better_and_a_page_shows_them(tmp_path, capsys):
    output = tmp_path / "out"
    words = ["demo", "-o", str(output), "--cache-dir", str(tmp_path / "cache")]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert out.index("JPEG quality 10") < out.index("VVC QP 37")
    assert (output / "report.html").as_uri() in out
    page = (output / "report.html").read_text()
    for codec, suffix, least in (("jpeg", ".jpg", 0.8), ("vvc", ".png", 0.0)):
        record = json.loads((output / codec / "evaluation.json").read_text())
        assert record["codec"] == codec
        for image in record["images"]:
            assert image["psnr_y"] - image["lq_psnr_y"] > least
            original = read_image(output / codec / "gt" / f"{image['name']}.png").pixels
            sheet = read_image(output / codec / "comparison" / f"{image['name']}.png").pixels
            assert sheet.shape[1] > 3 * original.shape[1]
            assert (output / codec / "lq" / f"{image['name']}{suffix}").is_file()
        assert {image["name"] for image in record["images"]} == {"chelsea", "coffee"}
    assert "JPEG quality 10" in page
    assert "VVC QP 37" in page


def test_without_weights_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shipped, "WEIGHTS_FOLDER", tmp_path / "none")
    assert cli.main(["demo", "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.count("do not come with this installation") == 2
    assert not (tmp_path / "out").exists()


def test_bad_usage(capsys):
    assert cli.main(["demo", "--train", "0"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "armoe-jax demo: --train is 0, expected 1 or more steps\n"
    assert captured.out == ""


def test_training_is_the_configuration_of_the_demo_for_few_steps(tmp_path):
    args = cli.build_parser().parse_args(["demo", "--train", "--cache-dir", str(tmp_path)])
    config = demo.shortened(configs.load(configs.FOLDER / "demo.py"), args)
    assert (config.train.num_steps, config.log.every) == (40, 10)
    assert config.data.cache_dir == str(tmp_path)
    assert config.data.source == "embedded"
    assert cli.build_parser().parse_args(["demo"]).train is None
