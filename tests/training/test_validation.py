import dataclasses

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from armoe_jax.models import build_model
from armoe_jax.training import validation
from armoe_jax.training.validation import ValidationStopped, Validator

CONFIG = dataclasses.replace(networks.RELEASED, experts=(), global_skip=True)


@dataclasses.dataclass
class Pair:
    name: str
    lq: np.ndarray
    gt: np.ndarray
    coding: None = None


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(0)
    gt = rng.integers(0, 256, (3, 16, 12, 3), dtype=np.uint8)
    lq = np.clip(gt.astype(int) + 5, 0, 255).astype(np.uint8)
    return [Pair(f"p{i}", lq[i], gt[i]) for i in range(3)]


@pytest.fixture(scope="module")
def variables():
    model = build_model(CONFIG)
    return jax.device_get(jax.jit(lambda: model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3))))())


def test_an_identity_network_scores_like_its_input(pairs, variables):
    validator = Validator(CONFIG, pairs, num_samples=2)
    figures, samples = validator(variables)
    assert figures["psnr_y"] == figures["lq_psnr_y"]
    assert figures["ssim_y"] == figures["lq_ssim_y"]
    assert [s.name for s in samples] == ["p0", "p1"]
    np.testing.assert_array_equal(samples[1].restored, pairs[1].lq)
    # Other weights, same programs.
    moved = jax.tree.map(lambda x: x, variables)
    moved["params"]["conv_last"]["bias"] = np.full(3, -5 / 255, np.float32)
    better, _ = validator(moved)
    assert better["psnr_y"] > figures["psnr_y"] + 3


def test_it_stops_between_images_if_asked(pairs, variables):
    answers = iter([False, True])
    with pytest.raises(ValidationStopped):
        Validator(CONFIG, pairs)(variables, should_stop=lambda: next(answers))


def test_limit_spreads_over_the_set():
    assert validation.limit(list(range(10)), 4) == [0, 2, 5, 7]
    assert validation.limit([1, 2], 0) == [1, 2]
    assert validation.limit([1, 2], 5) == [1, 2]


def test_samples_are_shown_side_by_side():
    small, large = np.zeros((2, 2, 3), np.uint8), np.full((4, 4, 3), 7, np.uint8)
    shown = validation.show_samples([validation.Sample("x", small, large, large)])
    assert shown["sample/x"].shape == (4, 12, 3)
    assert shown["sample/x"][:, :4].max() == 0


def test_expert_usage_as_a_picture():
    usage = {
        "expert_usage/layer00/dct": 1.0,
        "expert_usage/layer00/fft": 0.0,
        "expert_usage/layer01/dct": 0.2,
        "expert_usage/layer01/fft": 0.8,
    }
    picture = validation.show_expert_usage(usage, ("dct", "fft"), cell=2)
    assert picture.shape == (4, 4, 3)
    assert picture[::2, ::2, 0].tolist() == [[255, 0], [51, 204]]
