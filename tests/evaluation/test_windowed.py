"""Looking inside networks whose windows choose: choices, thresholds, silence."""

import dataclasses

import jax
import networks
import numpy as np
import pytest

from armoe_jax.evaluation import analysis, windowed
from armoe_jax.evaluation.recording import recording_experts
from armoe_jax.evaluation.windowed import WindowChoices
from armoe_jax.models import ARMoEConfig, build_model
from armoe_jax.restore import Restorer

CONFIG = dataclasses.replace(networks.WINDOWED, experts=("dct", "swt"), grid=8)
NAMES = CONFIG.experts


@pytest.fixture(scope="module")
def restorer():
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
    shapes = jax.eval_shape(build_model(CONFIG).init, jax.random.key(0), x)
    rng = np.random.default_rng(0)
    draw = jax.tree.map(
        lambda s: rng.normal(0, max(s.shape[-1], 1) ** -0.5, s.shape).astype(np.float32), shapes
    )
    return Restorer(CONFIG, draw)


@pytest.fixture(scope="module")
def image():
    """Dark and smooth on the left, bright and rough on the right; no multiple of the window."""
    rng = np.random.default_rng(1)
    picture = np.full((11, 18, 3), 20.0)
    picture[:, 9:] = rng.integers(60, 256, (11, 9, 3))
    return picture.astype(np.uint8)


def test_choices_are_the_networks_in_their_places(restorer, image):
    choices = windowed.window_choices(restorer, image)
    assert (choices.expert_names, choices.side) == (NAMES, 4)
    assert choices.expert.shape == (2, 3, 5)  # of 4 x 6 windows with padding
    _, routing = restorer.apply(image[None] / np.float32(255), return_routing=True)
    whole = np.asarray(routing.expert).reshape(2, 4, 6)
    np.testing.assert_array_equal(choices.expert, whole[:, :3, :5])
    np.testing.assert_allclose(choices.shares.sum(axis=1), 1)


def test_shares_and_drawing_by_hand():
    choices = WindowChoices(NAMES, np.array([[[0, 1, 1]], [[0, 0, 0]]], np.int32), 2)
    np.testing.assert_allclose(choices.shares, [[1 / 3, 2 / 3], [1, 0]])
    drawn = choices.drawn_over(np.full((2, 5, 3), 100, np.uint8), 0)
    assert drawn.shape == (2, 5, 3)
    # 0.55 * 100 + 0.45 * (0, 0x72, 0xb2), and of (0xe6, 0x9f, 0).
    np.testing.assert_array_equal(drawn[1, 1], [55, 106, 135])
    np.testing.assert_array_equal(drawn[0, 4], [158, 127, 55])


def test_thresholds_are_means_over_channels():
    config = dataclasses.replace(CONFIG, depth=1, experts=("dct",), window=2)
    bias = np.log(np.expm1(np.array([[1.0, 3.0], [0.5, 0.5], [2.0, 4.0], [0.1, 0.3]])))
    moe = {"dct": {"threshold": bias.astype(np.float32)}}
    variables = {"params": {"group_0": {"block_0": {"moe": moe}}}}
    got = windowed.thresholds(config, variables)
    np.testing.assert_allclose(got["dct"], [[2.0, 0.5, 3.0, 0.2]], rtol=1e-5)


def test_thresholds_at_a_quality():
    config = dataclasses.replace(
        CONFIG, depth=1, experts=("dct",), window=2, quality_range=(0.0, 8.0), adapt_experts=True
    )
    bias = np.log(np.expm1(np.array([[1.0], [0.5], [2.0], [0.1]])))
    slope = np.log(np.expm1(2.0)) - bias  # 2 for all at the strongest coding
    moe = {"dct": {"threshold": bias, "threshold_slope": slope}}
    variables = {"params": {"group_0": {"block_0": {"moe": moe}}}}
    middle = windowed.thresholds(config, variables)["dct"]
    np.testing.assert_allclose(middle, [[1.0, 0.5, 2.0, 0.1]], rtol=1e-5)
    np.testing.assert_allclose(windowed.thresholds(config, variables, 1.0)["dct"], 2.0, rtol=1e-5)


def test_silence(restorer, image):
    whole = restorer.variables
    before = jax.tree.map(np.array, whole)
    silent = restorer.with_variables(windowed.silenced(CONFIG, whole))
    jax.tree.map(np.testing.assert_array_equal, restorer.variables, before)
    assert (silent(image) != restorer(image)).any()
    # With one expert silent, the other still speaks; forced to the silent one, nothing does.
    x = image[None] / np.float32(255)
    one = restorer.with_variables(windowed.silenced(CONFIG, whole, "dct"))
    np.testing.assert_allclose(one.apply(x, expert=0), silent.apply(x), atol=1e-5)
    assert np.abs(one.apply(x, expert=1) - silent.apply(x)).max() > 1e-3
    with pytest.raises(ValueError, match="expert is 'haar'"):
        windowed.silenced(CONFIG, whole, "haar")


def test_gains(restorer, image):
    gains = windowed.gains_when_silenced(restorer, [(image, image // 2 + 60)])
    assert set(gains) == {"whole", "mixture", *NAMES}
    assert len(set(gains.values())) > 1
    with pytest.raises(ValueError, match="no pairs"):
        windowed.gains_when_silenced(restorer, [])


def test_usage_counts_windows(restorer, image):
    usage = analysis.expert_usage(restorer, [("a", image), ("b", image[:4, :4])])
    choices = windowed.window_choices(restorer, image)
    assert usage.windows is not None
    np.testing.assert_array_equal(usage.windows.sum(axis=-1), [[24, 4], [24, 4]])
    np.testing.assert_array_equal(usage.counts.sum(axis=1), [28, 28])
    np.testing.assert_array_equal(usage.expert, usage.windows.argmax(axis=-1))
    assert choices.expert.size == 30


def test_the_record_holds_what_most_windows_took(restorer, image):
    usage = analysis.expert_usage(restorer, [("a", image)])
    recorded = recording_experts(restorer)(image)
    assert recorded.expert == tuple(usage.expert[:, 0].tolist())


def test_choices_can_be_held(restorer, image):
    forward = analysis.fixed_routing(restorer, image)
    x = image[None] / np.float32(255)
    np.testing.assert_allclose(forward(x), restorer.apply(x), atol=1e-5)
    with pytest.raises(ValueError, match="expert's shape"):
        restorer.apply(x, expert=np.zeros((2, 1, 5), np.int32))


@pytest.mark.parametrize("config", [ARMoEConfig(), dataclasses.replace(CONFIG, experts=())])
def test_other_networks_are_refused(config):
    with pytest.raises(ValueError, match="no experts that windows choose"):
        windowed.thresholds(config, {})
