"""Exported programs: equal to the network, run without its code, and refuse what does not fit."""

import dataclasses
import json
import subprocess
import sys
import textwrap
import zipfile

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from armoe_jax.exported import load_export
from armoe_jax.exported.writer import check_export, export_model
from armoe_jax.models import ARMoEConfig, build_model

TILE = 16


@pytest.fixture(scope="module")
def model(file):
    return load_export(file)


@pytest.fixture(scope="module")
def identity(tmp_path_factory, make_variables):
    """A network without tail, which returns its input."""
    config = dataclasses.replace(networks.RELEASED, upsampler="")
    path = tmp_path_factory.mktemp("export") / "identity.armoe"
    export_model(path, config, make_variables(config), tile=TILE, platforms=["cpu"])
    return load_export(path)


@pytest.mark.parametrize("batch", [1, 3])
def test_any_batch_equals_the_network(model, config, variables, batch):
    x = np.random.default_rng(batch).random((batch, TILE, TILE, 3), np.float32)
    network = jax.jit(lambda v, x: build_model(config).apply(v, x, return_routing=True))
    expected, routing = network(variables, x)
    result = model(x)
    np.testing.assert_allclose(result.image, expected, atol=2e-5)
    np.testing.assert_array_equal(result.expert, routing.expert)


def test_gates_disagree_in_these_tests(model):
    """Otherwise equality of experts would show little."""
    x = np.random.default_rng(0).random((3, TILE, TILE, 3), np.float32)
    x *= np.linspace(0, 1, 3, dtype=np.float32)[:, None, None, None]
    assert len(np.unique(model(x).expert)) > 1


def test_description(model, config):
    info = model.info
    assert (info.tile, info.channels, info.scale, info.batch) == (TILE, 3, 1, None)
    assert info.platforms == ("cpu", "cuda", "tpu")
    assert ARMoEConfig.from_dict(info.config) == config
    assert info.provenance == {"source": "test"}


@pytest.mark.slow
def test_runs_without_the_model_code(file, model, tmp_path):
    """A fresh process: the loader brings neither Flax nor the model."""
    x = np.random.default_rng(3).random((2, TILE, TILE, 3), np.float32)
    np.save(tmp_path / "x.npy", x)
    script = f"""
        import sys
        import numpy as np
        from armoe_jax.exported import load_export
        y = load_export({str(file)!r})(np.load({str(tmp_path / "x.npy")!r})).image
        np.save({str(tmp_path / "y.npy")!r}, y)
        loaded = [n for n in sys.modules if n.startswith(("flax", "armoe_jax.models"))]
        sys.exit(f"loaded {{loaded}}" if loaded else 0)
    """
    program = [sys.executable, "-c", textwrap.dedent(script)]
    subprocess.run(program, check=True, timeout=1800)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model(x).image, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 3), (16, 16, 3), (23, 41, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiles_of_any_size_are_put_together_without_loss(identity, shape, dtype):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)
    restored = identity.restore(image, overlap=8, batch=2)
    assert restored.dtype == dtype
    np.testing.assert_array_equal(restored, image)


def test_one_tile_is_the_program_itself(model):
    image = np.random.default_rng(0).integers(0, 256, (TILE, TILE, 3), np.uint8)
    y = np.asarray(model(image[None].astype(np.float32) / 255).image[0])
    expected = np.rint(np.clip(y, 0, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(model.restore(image), expected)


@pytest.mark.slow
def test_super_resolution_gray_fixed_batch(make_variables, tmp_path):
    config = dataclasses.replace(
        networks.RELEASED, in_chans=1, upsampler="lightSR", global_skip=True
    )
    variables = make_variables(config)
    export_model(tmp_path / "sr", config, variables, tile=TILE, batch=2, platforms=["cpu"])
    assert check_export(tmp_path / "sr", config, variables) < 1e-4
    model = load_export(tmp_path / "sr")
    image = np.random.default_rng(0).integers(0, 256, (20, 33), np.uint8)
    assert model.restore(image, overlap=4).shape == (40, 66)
    with pytest.raises(ValueError, match="a batch of 3; this program takes 2"):
        model(np.zeros((3, TILE, TILE, 1), np.float32))


JPEG = dataclasses.replace(networks.JPEG, experts=("dct", "haar"))


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory, make_variables):
    """A network whose windows choose and that takes the steps of JPEGs, exported; its weights."""
    path, variables = tmp_path_factory.mktemp("export") / "jpeg", make_variables(JPEG)
    quality = variables["params"]["quality"]
    # Its estimate contradicts no file.
    quality["position"] = jax.tree.map(jnp.zeros_like, quality["position"])
    info = export_model(path, JPEG, variables, tile=TILE, platforms=["cpu"])
    assert (info.alignment, info.takes_steps) == (8, True)
    return path, variables


def test_steps_reach_the_program(jpeg):
    path, variables = jpeg
    assert check_export(path, JPEG, variables) < 1e-4
    image = np.random.default_rng(0).integers(0, 256, (19, 41, 3), np.uint8)
    model = load_export(path)
    told = model.restore(image, overlap=4, batch=2, steps=np.full((8, 8), 30, np.uint16))
    blind = model.restore(image, overlap=4, batch=2)
    assert told.shape == blind.shape == image.shape
    assert (told != blind).any()


def test_wrong_inputs(model):
    with pytest.raises(ValueError, match=r"takes float32 \(B, 16, 16, 3\)"):
        model(np.zeros((1, TILE, 18, 3), np.float32))
    with pytest.raises(ValueError, match="one or more"):
        model(np.zeros((0, TILE, TILE, 3), np.float32))
    with pytest.raises(ValueError, match=r"takes \(H, W, 3\)"):
        model.restore(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="uint8 and uint16"):
        model.restore(np.zeros((4, 4, 3), np.float64))


def test_another_platform_is_refused(tmp_path, config, variables):
    export_model(tmp_path / "x", config, variables, tile=TILE, platforms=["tpu"])
    with pytest.raises(ValueError, match="runs on tpu; JAX runs on cpu"):
        load_export(tmp_path / "x")(np.zeros((1, TILE, TILE, 3), np.float32))


COUNTS = ("tile", "channels", "scale", "alignment")
TEXTS = ("dtype", "jax_version")
NAMES = ("platforms", "expert_names")


class TestDamage:
    def rewrite(self, file, path, **members):
        with zipfile.ZipFile(file) as source, zipfile.ZipFile(path, "w") as target:
            for name in source.namelist():
                key = name.split(".")[0]
                data = members.get(key, source.read(name))
                if data is not None:
                    target.writestr(name, data)

    def test_not_an_export(self, tmp_path):
        (tmp_path / "x").write_bytes(b"nothing")
        with pytest.raises(ValueError, match="not an export that can be read"):
            load_export(tmp_path / "x")
        with pytest.raises(FileNotFoundError, match="no such file"):
            load_export(tmp_path / "y")

    def test_missing_member(self, file, tmp_path):
        self.rewrite(file, tmp_path / "x", program=None)
        with pytest.raises(ValueError, match=r"program\.bin"):
            load_export(tmp_path / "x")

    def test_changed_weights(self, file, tmp_path):
        self.rewrite(file, tmp_path / "x", weights=b"\0" * 100)
        with pytest.raises(ValueError, match="checksum of weights"):
            load_export(tmp_path / "x")

    def test_newer_format(self, file, tmp_path):
        with zipfile.ZipFile(file) as source:
            record = json.loads(source.read("export.json")) | {"format_version": 4}
        self.rewrite(file, tmp_path / "x", export=json.dumps(record).encode())
        with pytest.raises(ValueError, match="format version 4"):
            load_export(tmp_path / "x")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *((name, value) for name in COUNTS for value in (0, -1, 1.5, True, "16", 2**16 + 1)),
            *((name, value) for name in TEXTS for value in (1, None, ["float32"])),
            *((name, value) for name in NAMES for value in ("cpu", [1], {"cpu": 1})),
            *((name, value) for name in ("config", "provenance") for value in ([], "x", None)),
            *(("takes_steps", value) for value in (0, None, "no")),
            *(("coding_quality", value) for value in ("40", True, [40])),
            ("batch", 0),
        ],
    )
    def test_fields_of_another_kind(self, file, tmp_path, name, value):
        with zipfile.ZipFile(file) as source:
            record = json.loads(source.read("export.json")) | {name: value}
        self.rewrite(file, tmp_path / "x", export=json.dumps(record).encode())
        with pytest.raises(ValueError, match=rf"export\.json: {name} is "):
            load_export(tmp_path / "x")

    @pytest.mark.parametrize(("removed", "added"), [("tile", None), (None, "colour")])
    def test_missing_and_further_fields(self, file, tmp_path, removed, added):
        with zipfile.ZipFile(file) as source:
            record = json.loads(source.read("export.json"))
        record.pop(removed, None)
        record |= {added: 1} if added else {}
        self.rewrite(file, tmp_path / "x", export=json.dumps(record).encode())
        with pytest.raises(ValueError, match=r"export\.json has the fields .*, expected"):
            load_export(tmp_path / "x")

    def test_compressed_member(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_DEFLATED) as target:
            target.writestr("export.json", "{}")
        with pytest.raises(ValueError, match="compressed"):
            load_export(tmp_path / "x")
