"""What is left for experts: least squares by hand, and one real call."""

import dataclasses
import json

import jax
import networks
import numpy as np
import pytest
from PIL import Image

from armoe_jax.checkpoints.folder import save_model
from armoe_jax.experts import FRAMES
from armoe_jax.models import build_model
from armoe_jax.runtime.errors import UserError


@pytest.fixture(scope="module")
def probe():
    import probe_experts

    return probe_experts


def test_an_error_that_an_expert_can_tell_is_told(probe):
    """It is a combination of shrunk coefficients, another one in each shell of frequencies."""
    rng, frame = np.random.default_rng(0), FRAMES["haar"](8)
    weights = rng.normal(size=(frame.num_shells, 6))[np.array(frame.shells)]

    def error_of(features, deviation):
        z, amplitude = probe._spectrum(features, frame.matrix)
        regressors = [z, *(z - np.clip(z, -t * deviation, t * deviation) for t in (0.5, 1.5))]
        told = np.einsum("kni,ki->kn", np.concatenate(regressors, axis=2), weights) * amplitude
        return probe._from_windows(frame.matrix.T @ told, *features.shape[:2])

    features = [rng.normal(size=(32, 32, 2)) for _ in range(3)]
    spectra = [probe._spectrum(x, frame.matrix)[0] for x in features]
    deviation = np.sqrt(np.mean([np.mean(z**2, axis=1) for z in spectra], axis=0))[:, None]
    crops = [probe.Crop(x, error_of(x, deviation)) for x in features]
    unseen = rng.normal(size=(16, 24, 2))
    left = error_of(unseen, deviation)
    left = left - probe._fit_expert(crops, "haar", (0.5, 1.5))(unseen)
    assert np.std(left) < 0.02 * np.std(error_of(unseen, deviation))  # what the ridge takes


def test_the_best_of_each_window(probe):
    planes = [np.ones((8, 16)), np.concatenate([np.zeros((8, 8)), np.full((8, 8), 3.0)], axis=1)]
    want = np.concatenate([np.zeros((8, 8)), np.ones((8, 8))], axis=1)
    np.testing.assert_array_equal(probe._best(planes, 8), want)


@pytest.mark.slow
def test_a_call(probe, tmp_path, capsys):
    config = dataclasses.replace(networks.JPEG, grid=8)
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(4):
        pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
    x = np.zeros((1, 8, 8, 3), np.float32)
    save_model(
        tmp_path / "model", config, jax.jit(build_model(config).init)(jax.random.key(0), x),
        provenance={},
    )  # fmt: skip
    words = ["--init", str(tmp_path / "model"), "--train", str(tmp_path / "images")]
    words += ["--eval", str(tmp_path / "images"), "--json", str(tmp_path / "out.json")]
    words += ["--qualities", "10", "--seeds", "2", "--fit", "2", "--images", "2", "--crop", "16"]
    assert probe.main(words) == 0
    gains = {k: v["10"] for k, v in json.loads((tmp_path / "out.json").read_text()).items()}
    assert set(gains) == {
        "pair", "dct", "fft", "haar", "dct linear", "windows", "images", "twice",
    }  # fmt: skip
    assert {name: len(values) for name, values in gains.items()}["twice"] == 1
    for seed in range(2):
        best = max(gains[name][seed] for name in probe.EXPERTS)
        assert gains["windows"][seed] >= gains["images"][seed] >= max(best, 0)
    assert len(capsys.readouterr().out.splitlines()) == len(gains)
    with pytest.raises(UserError, match="fewer than 5 images"):
        probe.main([*words, "--images", "5"])
