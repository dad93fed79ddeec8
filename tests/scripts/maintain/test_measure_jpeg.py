"""The figures of weights for JPEG: its tables, of one small image."""

import json

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from PIL import Image

from armoe_jax.checkpoints.folder import LoadedModel
from armoe_jax.checkpoints.weights import save_weights
from armoe_jax.images.jpeg import read_jpeg_coding
from armoe_jax.models import build_model


@pytest.fixture(scope="module")
def measure_jpeg():
    import measure_jpeg

    return measure_jpeg


@pytest.fixture(scope="module")
def original():
    rng = np.random.default_rng(0)
    return rng.normal(128, 40, (12, 14, 3)).repeat(4, 0).repeat(4, 1).clip(0, 255).astype(np.uint8)


def test_every_kind_gives_a_picture_and_its_original(measure_jpeg, original):
    for name, kind in measure_jpeg.KINDS.items():
        file, shown = kind(original, 60)
        pixels, coding = measure_jpeg._open(file)
        assert pixels.shape == shown.shape, name
        assert np.abs(pixels.astype(float) - shown).mean() < 20, name
        assert (coding is None) == ("PNG" in name)
    shifted, _ = measure_jpeg.KINDS["shifted by 3, saved at 75"](original, 60)
    assert read_jpeg_coding(shifted).size == (45, 53)


def test_its_tables(measure_jpeg, original, tmp_path):
    """A network that changes nothing, but for the luma that files know better than pixels."""
    image = jnp.zeros((1, 8, 8, 3))
    variables = jax.tree.map(np.array, build_model(networks.JPEG).init(jax.random.key(0), image))
    for leaf in variables["params"]["conv_last"].values():
        leaf[...] = 0
    save_weights(tmp_path / "w.safetensors", LoadedModel(networks.JPEG, variables, {}))
    (tmp_path / "gt").mkdir()
    Image.fromarray(original).save(tmp_path / "gt" / "a.png")
    words = ["--gt", str(tmp_path / "gt"), "--checkpoint", str(tmp_path / "w.safetensors")]
    words += ["--qualities", "40", "--quality", "20", "--kinds", "saved again at 75"]
    words += ["--outputs", "40"]
    assert measure_jpeg.main([*words, "--json", str(tmp_path / "out.json")]) == 0
    by_quality, twice, output, originals = json.loads((tmp_path / "out.json").read_text())
    assert by_quality["quality"] == 40
    assert by_quality["pixels"] == by_quality["told"] == by_quality["worst pixels"] == 0
    assert 0 < abs(by_quality["file"]) < 0.5
    assert (twice["kind"], twice["quality"]) == ("saved again at 75", 20)
    assert twice["pixels"] == 0
    assert twice["found"] > twice["file"]  # the luma of the first coding
    sizes = [int(output[f"4:4:4, {quality}"].split("(")[1][:-1]) for quality in (90, 95, 99, 100)]
    assert output["output of"] == 40
    assert 0 < sizes[0] < sizes[-1]
    assert sizes == sorted(sizes)
    assert originals == {"kind": "never coded", "kept": 99, "worst kept": 99, "taken for coded": 0}
