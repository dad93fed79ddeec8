import argparse
import dataclasses
import functools
import itertools
import json
import math

import jax
import numpy as np
import pytest

from armoe_jax import cli
from armoe_jax.benchmark import machine, measure, rows
from armoe_jax.benchmark.flops import useful_flops
from armoe_jax.commands import benchmark as command
from armoe_jax.models import VARIANTS, ARMoEConfig, build_model

TINY = ARMoEConfig(
    embed_dim=32, depth=(2,), num_heads=(2,), mlp_ratio=2.0, upsampler="icar", split_size=(4, 4)
)

CONFIG_FILE = """
from configs import base

def get_config():
    config = base.get_config()
    config.model.update(
        embed_dim=32, depth=(1,), num_heads=(2,), mlp_ratio=2.0, upscale={upscale},
        upsampler={upsampler!r}, split_size=(4, 4), experts=("dct", "haar"), dispatch="dense",
    )
    config.train.batch_size = 3
    config.data.patch_size = 8
    return config
"""


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG_FILE.format(upscale=1, upsampler="icar"))
    return path


@pytest.fixture
def small_yardstick(monkeypatch):
    rate = functools.partial(measure.matmul_rate, 64, repeats=1)
    monkeypatch.setattr(measure, "matmul_rate", rate)


def run(config, *arguments):
    """Runs the command in this process, which has JAX already."""
    return cli.main(["benchmark", "--config", str(config), "--no-fresh-process", *arguments])


def rows_of(path):
    return json.loads(path.read_text())["rows"]


# --- Counting by hand


def test_useful_flops_of_car():
    # Multiply-adds of a pixel; C = 180, hidden 360, windows of 8 * 32 = 256 tokens.
    # block: attention 3*180*180 (qkv) + 9*180 (local) + 2*256*180 + 180*180   = 223,380
    #        mixture   9*180 + 180*360 + 180*180                               =  98,820
    #        two feed-forwards 2 * (180*360 + 9*180 + 180*180)                 = 197,640
    #                                                                    sum   = 519,840
    # 36 blocks 18,714,240; 6 + 1 convolutions of 9*180*180 = 291,600: 2,041,200
    # ends: 9*3*180 = 4,860; 9*180*64 = 103,680; 9*64*3 = 1,728
    madds = 18_714_240 + 2_041_200 + 4_860 + 103_680 + 1_728
    assert useful_flops(VARIANTS["car"], 128, 128) == 2 * 128 * 128 * madds
    assert round(useful_flops(VARIANTS["car"], 128, 128) / 1e9) == 684


def test_useful_flops_of_light_super_resolution():
    # C = 48, hidden 96; a block: 3*48*48 + 9*48 + 2*256*48 + 48*48 = 34,224; mixture
    # 9*48 + 48*96 + 48*48 = 7,344; two feed-forwards 2 * 7,344; sum 56,256, times 12 = 675,072.
    # Two convolutions of 9*48*48 = 20,736; first 9*3*48 = 1,296; last 9*48*12 = 5,184.
    madds = 675_072 + 2 * 20_736 + 1_296 + 5_184
    assert useful_flops(VARIANTS["light_sr_x2"], 10, 20) == 2 * 10 * 20 * madds


def test_useful_flops_of_three_convolutions():
    one = useful_flops(dataclasses.replace(TINY, resi_connection="1conv"), 1, 1)
    three = useful_flops(dataclasses.replace(TINY, resi_connection="3conv"), 1, 1)
    # C = 32: 9*32*8 + 8*8 + 9*8*32 = 4,672 instead of 9*32*32 = 9,216; once in the group, once
    # after the body.
    assert one - three == 2 * 2 * (9_216 - 4_672)


def test_a_network_without_tail_does_nothing_useful():
    assert useful_flops(dataclasses.replace(TINY, upsampler=""), 64, 64) == 0


def test_useful_flops_agree_with_xla():
    # Depth 1, no scan, no experts: XLA counts everything, ours what grows with the image but for
    # norms and activations, which are a small part at this width.
    config = ARMoEConfig(
        embed_dim=64, depth=(1,), num_heads=(2,), mlp_ratio=2.0, split_size=(8, 8), experts=()
    )
    model = build_model(config, scan=False)
    variables = measure.random_variables(config)
    lowered = jax.jit(model.apply).lower(variables, np.zeros((1, 32, 32, 3), np.float32))
    by_xla = lowered.cost_analysis()["flops"]
    assert 0.7 < useful_flops(config, 32, 32) / by_xla < 1.05


# --- Measuring


@pytest.mark.parametrize("experts", [(), ("swt",), ("dct", "fft", "haar", "swt")])
@pytest.mark.parametrize("upsampler", ["icar", "lightSR"])
def test_random_variables_have_the_networks_shapes(experts, upsampler):
    config = dataclasses.replace(TINY, experts=experts, upsampler=upsampler)
    model = build_model(config)
    expected = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
    actual = measure.random_variables(config)
    assert jax.tree.map(np.shape, actual) == jax.tree.map(np.shape, dict(expected))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(actual))


def test_runs_are_counted_and_the_warm_up_is_not():
    calls = itertools.count()
    seconds = measure.time_runs(lambda: next(calls), 3)
    assert len(seconds) == 3
    assert next(calls) == 3 + measure.WARM_UP


def test_peak_memory_sees_a_large_array():
    before = machine.peak_memory_bytes()
    array = np.ones(300_000_000 // 8)
    peak = machine.peak_memory_bytes()
    assert peak >= before
    assert peak >= array.nbytes


@pytest.mark.skipif(not machine.reset_peak_memory(), reason="the system cannot reset the peak")
def test_peak_memory_can_be_reset():
    array = np.ones(300_000_000 // 8)
    peak = machine.peak_memory_bytes()
    size = array.nbytes
    del array
    assert machine.reset_peak_memory()
    assert machine.peak_memory_bytes() < peak - size / 2


def test_a_row_follows_from_its_measurement():
    measured = measure.Measurement(
        seconds=0.5, seconds_min=0.4, seconds_max=0.9, repeats=3, lower_seconds=1.0,
        compile_seconds=2.0, computed_pixels=131_072, temp_bytes=1, argument_bytes=2,
        output_bytes=3, peak_memory_bytes=4, run_peak_bytes=None,
        device_peak_bytes=None, expert_counts=None,
    )  # fmt: skip
    case = measure.Case("car", "train", 128, 128, batch=4)
    row = measure.make_row(case, measured, VARIANTS["car"], matmul_rate=3e13)
    # A training step: 3 * 4 images * 683.73 GFLOP = 8,204.7 GFLOP in half a second.
    assert row["images_per_second"] == 8.0
    # 4 * 128 * 128 = 65,536 pixels, of which each is computed twice.
    assert row["seconds_per_megapixel"] == pytest.approx(7.62939, abs=1e-5)
    assert row["seconds_per_computed_megapixel"] == pytest.approx(3.81470, abs=1e-5)
    assert row["useful_gflop"] == pytest.approx(8204.7, abs=0.1)
    assert row["gflop_per_second"] == pytest.approx(16409.5, abs=0.1)
    assert row["share_of_matmul"] == pytest.approx(0.54698, abs=1e-4)


def test_the_machines_rate_is_positive():
    assert 0 < measure.matmul_rate(64, repeats=1) < math.inf


def test_a_forced_expert_runs_in_every_block():
    case = measure.Case("tiny", "infer", 8, 8, batch=2, expert="haar")
    measured = measure.measure_inference(build_model(TINY), case, repeats=1)
    # Two blocks, two images.
    assert measured.expert_counts == {"dct": 0, "fft": 0, "haar": 4, "swt": 0}


# --- The command


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


def test_restoring_needs_a_tile():
    case = measure.Case("tiny", "infer", 8, 8, batch=1)
    with pytest.raises(ValueError, match="tile=None"):
        measure.measure_restoring(build_model(TINY), case, repeats=1)


@pytest.mark.slow
@pytest.mark.skipif(not machine.reset_peak_memory(), reason="the peak cannot be reset")
def test_a_row_in_a_fresh_process_does_not_see_other_rows(config_file, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "peak_memory_bytes", lambda: 2**60)  # of this process
    out = tmp_path / "report.json"
    arguments = ["benchmark", "--config", str(config_file), "--size", "64", "8", "--tile", "none"]
    assert cli.main([*arguments, "--repeats", "1", "--json", str(out)]) == 0
    large, small = rows_of(out)
    assert max(row["peak_memory_bytes"] for row in (large, small)) < 2**60
    assert json.loads(out.read_text())["fresh_process"]


@pytest.mark.slow
@pytest.mark.usefixtures("small_yardstick")
def test_training_takes_the_configurations_batch_and_patches(config_file, tmp_path):
    out = tmp_path / "report.json"
    arguments = ["--mode", "train", "--repeats", "1", "--json", str(out)]
    arguments += ["--remat", "--dispatch", "capacity"]
    assert run(config_file, *arguments) == 0
    (row,) = rows_of(out)
    assert (row["mode"], row["batch"], row["height"], row["width"]) == ("train", 3, 8, 8)
    assert (row["dispatch"], row["remat"], row["dtype"]) == ("capacity", True, "float32")
    assert row["expert_counts"] is None
    # Parameters, averages and two moments: the state is at least four times the weights.
    network = dataclasses.replace(TINY, depth=(1,), experts=("dct", "haar"))
    weights = sum(a.nbytes for a in jax.tree.leaves(measure.random_variables(network)["params"]))
    assert row["argument_bytes"] > 4 * weights


@pytest.mark.slow
@pytest.mark.usefixtures("small_yardstick")
def test_training_on_several_devices(config_file, tmp_path, capsys):
    out = tmp_path / "report.json"
    arguments = ["--mode", "train", "--batch", "4", "--repeats", "1", "--json", str(out)]
    assert run(config_file, *arguments) == 0
    assert (
        run(config_file, *arguments[:-1], str(tmp_path / "two.json"), "--devices", "2", "--fsdp")
        == 0
    )
    (alone,), (shared,) = rows_of(out), rows_of(tmp_path / "two.json")
    assert (alone["devices"], alone["fsdp"]) == (1, False)
    assert (shared["devices"], shared["fsdp"]) == (2, True)
    # Each device holds half of what can be split.
    assert shared["argument_bytes"] < 0.7 * alone["argument_bytes"]
    assert "dense, 2 devices, fsdp" in capsys.readouterr().out


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


def test_cases_in_words():
    row = {"model": "car", "mode": "infer", "height": 8, "width": 6, "batch": 1, "overlap": 32}
    words = {
        tile: rows.describe_case(row | {"tile": tile})
        for tile in (None, "none", "auto", "released", 64)
    }
    assert words == {
        None: "car infer 8x6, batch 1",
        "none": "car infer 8x6, batch 1, restorer",
        "auto": "car infer 8x6, batch 1, tile auto, overlap 32",
        "released": "car infer 8x6, batch 1, tile released",
        64: "car infer 8x6, batch 1, tile 64, overlap 32",
    }


def test_ratios_are_the_other_reports_figures_over_these():
    key = {"model": "car", "mode": "infer", "height": 8, "width": 8, "batch": 1}
    row = key | {"seconds": 2.0, "peak_memory_bytes": 2**30, "dtype": "float32", "expert": None}
    vague = key | {"seconds": 4.0}
    exact = key | {"seconds": 7.0, "peak_memory_bytes": 3 * 2**30, "dtype": "float32"}
    (line,) = rows.compare([row], [vague, exact])
    assert line == (
        "car infer 8x8, batch 1, float32: time 7 s / 2 s = 3.50x; "
        "peak memory 3.00 GiB / 1.00 GiB = 3.00x"
    )
    (line,) = rows.compare([row], [vague])
    assert line == "car infer 8x8, batch 1, float32: time 4 s / 2 s = 2.00x"
    (line,) = rows.compare([row], [vague | {"dtype": "bfloat16"}])
    assert line == "car infer 8x8, batch 1, float32: no such row to compare with"


@pytest.mark.parametrize("text", ["", "[]", '{"rows": 3}', '{"rows": [{"model": "car"}]}', "{}"])
def test_files_that_are_no_reports_are_refused(tmp_path, text):
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not a benchmark report"):
        rows.read_report(path)


@pytest.mark.usefixtures("small_yardstick")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variant", "huge"], "known are car, light_sr_x2"),
        (["--config", "absent.py"], "absent.py: no such file"),
        (["--expert", "wave"], "expert 'wave' is not in this network"),
        (["--mode", "train", "--expert", "dct"], "--expert dct is for --mode infer"),
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
    assert command._name(args, TINY) == "car_qp27"


def test_data_throughput(tmp_path, capsys):
    from PIL import Image

    rng = np.random.default_rng(0)
    for folder in ("gt", "lq"):
        (tmp_path / folder).mkdir()
        pixels = rng.integers(0, 256, (24, 24, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / folder / "a.png")
    path = tmp_path / "tiny.py"
    data = f"    config.data.update(source='folder', gt={str(tmp_path / 'gt')!r}, "
    data += f"lq={str(tmp_path / 'lq')!r})\n    return config"
    text = CONFIG_FILE.format(upscale=1, upsampler="icar")
    path.write_text(text.replace("    return config", data))
    out = tmp_path / "data.json"
    arguments = ["--data-throughput", "--config", str(path), "--json", str(out)]
    assert cli.main(["benchmark", *arguments]) == 0
    (row,) = json.loads(out.read_text())["data"]
    assert row["name"] == "tiny"
    assert row["num_patches"] % 3 == 0
    assert row["patches_per_second"] > 0
    assert "| tiny |" in capsys.readouterr().out
