"""ONNX files: equal to the network in ONNX Runtime; refusals do not need the converter."""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from armoe_jax.cli import main
from armoe_jax.exported.onnx_writer import MISSING, OnnxInfo, check_onnx, export_onnx
from armoe_jax.images.jpeg import log2_step_of_quality
from armoe_jax.models import ARMoEConfig, ARMoEWConfig, build_model
from armoe_jax.models.quality_estimator import ESTIMATORS
from armoe_jax.runtime.errors import UserError

TILE = 32
CONFIG = dataclasses.replace(networks.JPEG, stride=2, grid=16)


@pytest.fixture(scope="module")
def variables():
    x = jnp.zeros((1, TILE, TILE, 3))
    shapes = jax.eval_shape(build_model(CONFIG).init, jax.random.key(0), x)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: rng.normal(0, 0.2, s.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def packages():
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    return pytest.importorskip("jax2onnx", reason="the extra onnx is not installed")


@pytest.fixture(scope="module")
def file(tmp_path_factory, packages, variables):
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    info = export_onnx(path, CONFIG, variables, tile=TILE, provenance={"source": "test"})
    return path, info


def test_any_number_of_tiles_runs_as_the_network_does(file, variables):
    import onnxruntime

    path, info = file
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    model = build_model(CONFIG)
    for batch in (1, 3):
        x = np.random.default_rng(batch).random((batch, TILE, TILE, 3), np.float32)
        (y,) = session.run(["output"], {"input": x.transpose(0, 3, 1, 2)})
        expected = jax.jit(model.apply)(variables, jnp.asarray(x))
        assert abs(np.asarray(expected) - x).max() > 0.01  # the network does something
        np.testing.assert_allclose(y.transpose(0, 2, 3, 1), expected, atol=1e-4)
    assert check_onnx(path, info, CONFIG, variables) < 1e-4
    assert info == OnnxInfo(TILE, 3, None, 23, path.stat().st_size)


def test_a_coding_quality_is_fixed_in_the_file(packages, variables, tmp_path):
    import onnx
    import onnxruntime

    path = tmp_path / "told.onnx"
    info = export_onnx(path, CONFIG, variables, tile=TILE, coding_quality=40)
    assert info.coding_quality == 40
    assert check_onnx(path, info, CONFIG, variables) < 1e-4
    texts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert texts["coding_quality"] == "40"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).random((3, TILE, TILE, 3), np.float32)
    (y,) = session.run(["output"], {"input": x.transpose(0, 3, 1, 2)})
    model = build_model(CONFIG)
    apply = jax.jit(model.apply)
    told = apply(variables, jnp.asarray(x), quality=jnp.full((3,), log2_step_of_quality(40)))
    np.testing.assert_allclose(y.transpose(0, 2, 3, 1), told, atol=1e-4)
    assert abs(np.asarray(apply(variables, jnp.asarray(x))) - told).max() > 1e-3


def test_each_tile_has_its_specialist(packages, tmp_path):
    import onnxruntime

    bound = 4.0
    config = dataclasses.replace(CONFIG, interval_head=False, specialists=(bound,))
    model = build_model(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, TILE, TILE, 3)))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: rng.normal(0, 0.2, s.shape).astype(np.float32), shapes)
    x = rng.random((3, TILE, TILE, 3), np.float32) ** np.array([1, 8, 1])[:, None, None, None]
    x = x.astype(np.float32)
    estimate = jax.jit(ESTIMATORS[config.quality_estimator](config.quality_range).apply)
    params = {"params": variables["params"]["quality"]}
    estimates = np.asarray(estimate(params, np.round(x * 255) / 255))
    position = variables["params"]["quality"]["position"]
    # Moves the estimates so that the bound lies between them.
    middle = (estimates.max() + estimates.min()) / 2
    mild, strong = config.quality_range
    position["bias"] = position["bias"] + (bound - middle) / (strong - mild) * 2
    moved = np.asarray(estimate(params, np.round(x * 255) / 255))
    assert moved.min() < bound < moved.max()
    path = tmp_path / "specialists.onnx"
    info = export_onnx(path, config, variables, tile=TILE)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for tiles in (x, x[:1], x[1:2]):
        (y,) = session.run(["output"], {"input": tiles.transpose(0, 3, 1, 2)})
        expected = jax.jit(model.apply)(variables, jnp.asarray(tiles))
        np.testing.assert_allclose(y.transpose(0, 2, 3, 1), expected, atol=1e-4)
    assert check_onnx(path, info, config, variables) < 1e-4


def test_the_file_tells_what_it_is(file):
    import onnx

    program = onnx.load(file[0])
    texts = {entry.key: json.loads(entry.value) for entry in program.metadata_props}
    assert ARMoEWConfig.from_dict(texts["config"]) == CONFIG
    assert texts["provenance"] == {"source": "test"}
    assert [entry.version for entry in program.opset_import if not entry.domain] == [23]
    (taken,) = program.graph.input
    sides = [dim.dim_value or dim.dim_param for dim in taken.type.tensor_type.shape.dim]
    assert sides[1:] == [3, TILE, TILE]
    assert isinstance(sides[0], str)


def test_another_network_is_told(file, variables):
    path, info = file
    others = jax.tree.map(lambda value: 1.1 * value, variables)
    with pytest.raises(ValueError, match=r"differs by .* more than 0.0001"):
        check_onnx(path, info, CONFIG, others)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ARMoEConfig(), "has experts"),
        (ARMoEWConfig(experts=("dct", "haar")), r"experts \('dct', 'haar'\).*stablehlo"),
    ],
)
def test_networks_that_are_not_exported(config, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_onnx(tmp_path / "a.onnx", config, {})


def test_tiles_that_do_not_fit(tmp_path, variables):
    with pytest.raises(ValueError, match="tile is 40; this network needs a multiple of 16"):
        export_onnx(tmp_path / "a.onnx", CONFIG, variables, tile=40)


def test_without_the_extra(tmp_path, variables, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(UserError, match=r"armoe-jax\[onnx\]"):
        export_onnx(tmp_path / "a.onnx", CONFIG, variables, tile=TILE)
    out = tmp_path / "b.onnx"
    assert main(["export", "car_small_jpeg", "-o", str(out), "--format", "onnx"]) == 2
    assert capsys.readouterr().err == f"armoe-jax export: {MISSING}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--dtype=bfloat16", "--platforms=cpu"])
def test_options_of_stablehlo_are_refused(option, tmp_path, capsys):
    arguments = ["export", "car_small_jpeg", "-o", str(tmp_path / "a.onnx"), "--format", "onnx"]
    assert main([*arguments, option]) == 2
    assert "is for --format stablehlo" in capsys.readouterr().err
