"""`armoe-jax benchmark`."""

import argparse
import json

import jax
import networks
import numpy as np
import pytest

from armoe_jax import cli
from armoe_jax.benchmark import machine, measure
from armoe_jax.commands import benchmark as command
from armoe_jax.models import VARIANTS
from armoe_jax.models.build import execution_defaults

CONFIG_FILE = """
from ml_collections import ConfigDict

from configs import base

def get_config():
    config = base.get_config()
    with config.unlocked():
        config.model = ConfigDict({model})
    config.train.batch_size = 4
    config.data.patch_size = 8
    config.data.update({data})
    return config
"""


def write_config(path, network, **data):
    """Writes a configuration of a network, dense unless the command line says otherwise."""
    model = execution_defaults(network) | network.to_dict() | {"dispatch": "dense"}
    path.write_text(CONFIG_FILE.format(model=model, data=data))
    return path


@pytest.fixture
def config_file(tmp_path):
    return write_config(tmp_path / "tiny.py", networks.RELEASED)


@pytest.fixture
def small_yardstick(monkeypatch):
    monkeypatch.setattr(measure, "MATMUL_SIZE", 64)


def run(config, *arguments):
    """Runs the command in this process, which has JAX already."""
    return cli.main(["benchmark", "--config", str(config), "--no-fresh-process", *arguments])


def rows_of(path):
    return json.loads(path.read_text())["rows"]


@pytest.mark.usefixtures("small_yardstick")
def test_inference(config_file, tmp_path, capsys):
    out = tmp_path / "report.json"
    arguments = ["--size", "8", "6x12", "--repeats", "2", "--no-scan", "--json", str(out)]
    assert run(config_file, *arguments) == 0
    report = json.loads(out.read_text())
    first, second = report["rows"]
    assert (first["height"], first["width"]) == (8, 8)
    assert (second["height"], second["width"]) == (6, 12)
    for row in report["rows"]:
        assert row["model"] == "tiny"
        assert (row["batch"], row["repeats"], row["scan"]) == (1, 2, False)
        assert 0 < row["seconds_min"] <= row["seconds"] <= row["seconds_max"]
        assert min(row["lower_seconds"], row["compile_seconds"], row["temp_bytes"]) > 0
        assert sum(row["expert_counts"].values()) == 1
        assert row["peak_memory_bytes"] > row["temp_bytes"]
    assert report["machine"]["cores"] >= 1
    printed = capsys.readouterr().out
    assert "tiny infer 8x8, batch 1, float32, unrolled" in printed
    assert "tiny infer 6x12" in printed


@pytest.mark.usefixtures("small_yardstick")
def test_tiles(config_file, tmp_path, capsys):
    out = tmp_path / "report.json"
    arguments = ["--size", "16x36", "--tile", "16", "--overlap", "4", "--batch", "2"]
    assert run(config_file, *arguments, "--repeats", "1", "--json", str(out)) == 0
    (row,) = rows_of(out)
    assert (row["tile"], row["overlap"], row["expert_counts"]) == (16, 4, None)
    # 36 columns in tiles of 16 that share 4 or more: (36 - 4) / 12 = 2.7, so 3 tiles, 48 columns.
    assert row["computed_pixels"] == 2 * 16 * 48
    per_pixel = row["seconds"] / (2 * 16 * 36)
    assert row["seconds_per_megapixel"] == pytest.approx(1e6 * per_pixel)
    assert row["seconds_per_computed_megapixel"] == pytest.approx(1e6 * per_pixel * 36 / 48)
    assert row["lower_seconds"] is None
    assert min(row["compile_seconds"], row["temp_bytes"]) > 0
    printed = capsys.readouterr().out
    assert "tiny infer 16x36, batch 2, float32, tile 16, overlap 4 |" in printed


@pytest.mark.slow
@pytest.mark.skipif(not machine.reset_peak_memory(), reason="the peak cannot be reset")
def test_a_row_in_a_fresh_process_does_not_see_other_rows(config_file, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "peak_memory_bytes", lambda: 2**60)  # of this process
    out = tmp_path / "report.json"
    arguments = ["benchmark", "--config", str(config_file), "--size", "8", "--tile", "none"]
    assert cli.main([*arguments, "--repeats", "1", "--json", str(out)]) == 0
    (row,) = rows_of(out)
    assert row["peak_memory_bytes"] < 2**60
    assert json.loads(out.read_text())["fresh_process"]


@pytest.mark.slow
@pytest.mark.usefixtures("small_yardstick")
def test_training_takes_the_configurations_batch_and_patches(tmp_path, capsys):
    """And several devices, each of which holds half of what can be split."""
    config_file = write_config(tmp_path / "tiny.py", networks.WINDOWED)
    arguments = ["--mode", "train", "--repeats", "1", "--remat", "--dispatch", "capacity", "--json"]
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert run(config_file, *arguments, str(one)) == 0
    assert run(config_file, *arguments, str(two), "--devices", "2", "--fsdp") == 0
    (alone,), (shared,) = rows_of(one), rows_of(two)
    assert (alone["mode"], alone["batch"], alone["height"], alone["width"]) == ("train", 4, 8, 8)
    assert (alone["dispatch"], alone["remat"], alone["dtype"]) == ("capacity", True, "float32")
    assert alone["expert_counts"] is None
    # Parameters, averages and two moments: the state is at least four times the weights.
    variables = measure.random_variables(networks.WINDOWED)
    weights = sum(a.nbytes for a in jax.tree.leaves(variables["params"]))
    assert alone["argument_bytes"] > 4 * weights
    assert (alone["devices"], alone["fsdp"]) == (1, False)
    assert (shared["devices"], shared["fsdp"]) == (2, True)
    assert shared["argument_bytes"] < 0.7 * alone["argument_bytes"]
    assert "capacity, remat, unrolled, 2 devices, fsdp" in capsys.readouterr().out


def test_inference_takes_no_devices(config_file, capsys):
    assert run(config_file, "--devices", "2") == 2
    assert "--devices is for --mode train" in capsys.readouterr().err


@pytest.mark.usefixtures("small_yardstick")
def test_comparison(config_file, tmp_path, capsys):
    earlier = tmp_path / "earlier.json"
    key = {"model": "tiny", "mode": "infer", "height": 8, "width": 8, "batch": 1}
    earlier.write_text(json.dumps({"rows": [key | {"seconds": 1e6}]}))
    assert run(config_file, "--size", "8", "--repeats", "1", "--compare", str(earlier)) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("tiny infer 8x8, batch 1, float32: time 1e+06 s / ")


@pytest.mark.usefixtures("small_yardstick")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variant", "huge"], "known are car, light_sr_x2"),
        (["--config", "absent.py"], "absent.py: no such file"),
        (["--expert", "wave"], "expert 'wave' is not in this network"),
        (["--mode", "train", "--expert", "swt"], "--expert swt is for --mode infer"),
        (["--mode", "train", "--tile", "16"], "--tile 16 is for --mode infer"),
        (["--overlap", "8"], "--overlap 8 is for tiles; give --tile too"),
        (["--tile", "16", "--expert", "haar"], "--expert is for the network alone"),
        (["--tile", "16", "--no-scan"], "--no-scan is for the network alone"),
        (["--tile", "17"], "tile is 17, expected an even number"),
        (["--tile", "16", "--overlap", "9"], "overlap is 9, expected 0 to 8"),
        (["--tile", "half"], "'half' is not auto, none, released or a number of pixels"),
        (["--mode", "train", "--batch", "1"], "batch"),
        (["--size", "8x7"], "width 7 is odd"),
        (["--size", "0"], "'0' is not a size"),
        (["--repeats", "0"], "'0' is not a whole number of 1 or more"),
        (["--compare", "absent.json"], "absent.json"),
        (["--data-throughput", "--compare", "x.json"], "--compare x.json is for networks"),
        (["--variant", "car", "--config", "x.py"], "not allowed with"),
    ],
)
def test_bad_usage_is_one_line(arguments, message, config_file, capsys):
    if not {"--variant", "--config"} & set(arguments):
        arguments = ["--config", str(config_file), *arguments]
    assert cli.main(["benchmark", "--no-fresh-process", *arguments]) == cli.USAGE_ERROR
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_configuration_may_take_an_argument():
    args = argparse.Namespace(variant=None, config="configs/car_small.py:vvc_adaptive")
    assert command._config(args).model.quality_range == (17.0, 42.0)


def test_configurations_need_get_config(tmp_path, capsys):
    path = tmp_path / "empty.py"
    path.write_text("x = 1\n")
    assert cli.main(["benchmark", "--config", str(path)]) == cli.USAGE_ERROR
    assert "defines no get_config()" in capsys.readouterr().err


@pytest.mark.usefixtures("small_yardstick")
def test_the_compilation_cache_is_on_again_afterwards(config_file):
    before = jax.config.jax_enable_compilation_cache
    arguments = ["--size", "8x7", "--repeats", "1"]
    assert run(config_file, *arguments) == cli.USAGE_ERROR
    assert jax.config.jax_enable_compilation_cache == before


def test_variants_that_configs_spell_out_go_by_their_name():
    args = argparse.Namespace(variant=None, config="configs/car_qp27.py")
    assert command._name(args, VARIANTS["car"]) == "car"
    assert command._name(args, networks.RELEASED) == "car_qp27"


def test_data_throughput(tmp_path, capsys):
    from PIL import Image

    rng = np.random.default_rng(0)
    for folder in ("gt", "lq"):
        (tmp_path / folder).mkdir()
        pixels = rng.integers(0, 256, (24, 24, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / folder / "a.png")
    images = {"source": "folder", "gt": str(tmp_path / "gt"), "lq": str(tmp_path / "lq")}
    path = write_config(tmp_path / "tiny.py", networks.WINDOWED, **images)
    out = tmp_path / "data.json"
    arguments = ["--data-throughput", "--config", str(path), "--json", str(out)]
    assert cli.main(["benchmark", *arguments]) == 0
    (row,) = json.loads(out.read_text())["data"]
    assert row["name"] == "tiny"
    assert row["num_patches"] % 4 == 0
    assert row["patches_per_second"] > 0
    assert "| tiny |" in capsys.readouterr().out
