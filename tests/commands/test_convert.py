"""`armoe-jax convert`, from every kind of file to every other."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from same_models import assert_same_model

from armoe_jax import cli
from armoe_jax.checkpoints.folder import load_model
from armoe_jax.checkpoints.weights import load_weights, save_weights
from armoe_jax.convert import read_torch

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def released(golden_dir):
    return golden_dir / "lightsr_tiny.pth"


def test_writes_what_the_suffix_says(tmp_path, released, capsys):
    for source, target in (
        (released, tmp_path / "a.safetensors"),
        (tmp_path / "a.safetensors", tmp_path / "b"),
        (tmp_path / "b", tmp_path / "c.pth"),
    ):
        assert cli.main(["convert", str(source), str(target)]) == 0
        assert_same_model(load_weights(target), load_weights(released))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    digest = hashlib.sha256(released.read_bytes()).hexdigest()
    for line in lines:
        assert digest in line
        assert '"embed_dim": 32' in line
        # 4 blocks of width 32; counted by the golden file's own tensors.
        assert f"{_count_parameters(released):,} parameters" in line


def test_architecture_options(tmp_path, released):
    # As others write them: without a word on the architecture.
    save_weights(tmp_path / "x.safetensors", load_weights(released))
    save_file(load_file(tmp_path / "x.safetensors"), tmp_path / "bare.safetensors")
    source, target = str(tmp_path / "bare.safetensors"), tmp_path / "m"
    options = ["--split-size", "4", "8", "--img-range", "255", "--qk-scale", "0.5"]
    options += ["--global-skip", "--experts", "swt", "haar", "fft", "dct"]
    assert cli.main(["convert", source, str(target), *options]) == 0
    config = load_model(target).config
    assert (config.split_size, config.img_range, config.qk_scale) == ((4, 8), 255.0, 0.5)
    assert config.global_skip
    assert config.experts == ("swt", "haar", "fft", "dct")


def test_existing_target(tmp_path, released, capsys):
    target = tmp_path / "x.safetensors"
    target.write_bytes(b"precious")
    assert cli.main(["convert", str(released), str(target)]) == 2
    assert target.read_bytes() == b"precious"
    assert capsys.readouterr().err.count("\n") == 1
    assert cli.main(["convert", str(released), str(target), "--overwrite"]) == 0
    assert_same_model(load_weights(target), load_weights(released))


def test_weights_that_are_not_finite(tmp_path, released, capsys):
    model = load_weights(released)
    kernel = model.variables["params"]["conv_first"]["kernel"]
    kernel[0, 0, 0, :2] = np.nan, np.inf
    save_weights(tmp_path / "bad.safetensors", model)
    words = ["convert", str(tmp_path / "bad.safetensors"), str(tmp_path / "x.safetensors")]
    assert cli.main([*words, "--strict"]) == 2
    # conv_first has 3 x 3 x 3 x 32 = 864 weights.
    assert "not finite: params/conv_first/kernel (2 of 864)" in capsys.readouterr().err
    assert not (tmp_path / "x.safetensors").exists()
    assert cli.main(words) == 0
    assert capsys.readouterr().err.startswith("warning: ")
    assert_same_model(load_weights(tmp_path / "x.safetensors"), model)


def test_suffix_of_another_format(tmp_path, released, capsys):
    assert cli.main(["convert", str(released), str(tmp_path / "x.onnx")]) == 2
    assert "give .pth, .safetensors, or a folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_script_converts_and_reports_a_bad_file_in_one_line(tmp_path, released):
    script = [sys.executable, str(PROJECT / "scripts" / "convert_checkpoint.py")]
    target = tmp_path / "x.safetensors"
    done = subprocess.run([*script, released, target], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert_same_model(load_weights(target), load_weights(released))

    bad = tmp_path / "bad.pth"
    bad.write_bytes(released.read_bytes()[:100_000])
    done = subprocess.run(
        [*script, bad, tmp_path / "y.safetensors"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "truncated or damaged" in done.stderr
    assert not (tmp_path / "y.safetensors").exists()


def _count_parameters(path):
    buffers = ("attn_mask", "rpe_biases", "relative_position_index", "running_", "tracked", ".h0_")
    buffers = (*buffers, ".h1_")
    return sum(
        array.size
        for name, array in read_torch(path).tensors.items()
        if not any(word in name for word in buffers)
    )
