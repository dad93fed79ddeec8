"""Reading the architecture off names and shapes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armoe_jax.convert import detect_config, rules_of
from armoe_jax.convert.detect import simplest_ratio
from armoe_jax.convert.rules import Constant, Counter
from armoe_jax.models import VARIANTS, ARMoEConfig

BASE = ARMoEConfig(
    embed_dim=32, depth=(3, 1), num_heads=(4, 2), mlp_ratio=2.0, upscale=1, split_size=(4, 8)
)
NOT_IN_NAMES = ("split_size", "img_range", "qk_scale", "global_skip")


def state_of(config, *, constants=True):
    """Makes a state dict of zeros with the right constants."""
    return {
        rule.name: rule.make() if isinstance(rule, Constant) else np.zeros(rule.shape, np.float32)
        for rule in rules_of(config)
        if not isinstance(rule, Counter) and (constants or not isinstance(rule, Constant))
    }


def expanded(*shape):
    return np.broadcast_to(np.float32(0), shape)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"in_chans": 1},
        {"embed_dim": 96, "num_heads": (6, 12)},
        {"mlp_ratio": 4.0},
        {"mlp_ratio": 2.5},
        {"qkv_bias": False},
        {"resi_connection": "3conv"},
        {"upsampler": ""},
        {"upsampler": "lightSR", "upscale": 2},
        {"upsampler": "lightSR", "upscale": 3, "in_chans": 1},
        {"upsampler": "lightSR", "upscale": 1},
        {"split_size": (8, 4)},
        {"split_size": (8, 8)},
        {"experts": ()},
        {"depth": (1, 1, 1), "num_heads": (2, 4, 8)},
    ],
    ids=str,
)
def test_detection_inverts_the_table(change):
    config = dataclasses.replace(BASE, **change)
    state = state_of(config)
    assert detect_config(state) == config
    # The index table alone shows the window too.
    without = {name: array for name, array in state.items() if "rpe_biases" not in name}
    assert detect_config(without) == config


@pytest.mark.parametrize("window", [(1, 4), (4, 1), (1, 1)])
def test_windows_of_one_row_or_column(window):
    config = dataclasses.replace(BASE, split_size=window)
    state = state_of(config)
    assert detect_config(state) == config
    # The index tables of 1 x 4 and 4 x 1 are the same, so that they cannot tell.
    without = {name: array for name, array in state.items() if "rpe_biases" not in name}
    with pytest.raises(ValueError, match="give the keyword split_size"):
        detect_config(without)


def test_published_networks_are_detected():
    state = state_of(VARIANTS["light_sr_x2"], constants=False)
    assert detect_config(state, split_size=(8, 32)) == VARIANTS["light_sr_x2"]


def test_what_weights_cannot_show_is_taken_from_keywords():
    config = detect_config(
        state_of(BASE), img_range=255.0, qk_scale=0.5, global_skip=True, drop_rate=0.1
    )
    assert config == dataclasses.replace(
        BASE, img_range=255.0, qk_scale=0.5, global_skip=True, drop_rate=0.1
    )


def test_window_is_asked_for_without_buffers():
    with pytest.raises(ValueError, match="give the keyword split_size"):
        detect_config(state_of(BASE, constants=False))
    assert detect_config(state_of(BASE, constants=False), split_size=[8, 4]).split_size == (8, 4)


def test_experts_are_asked_for_unless_they_are_the_released_four():
    config = dataclasses.replace(BASE, experts=("haar", "dct"))
    with pytest.raises(ValueError, match=r"which 2 experts.*keyword experts"):
        detect_config(state_of(config))
    assert detect_config(state_of(config), experts=("haar", "dct")) == config


def test_order_of_the_four_experts_can_be_given():
    order = ("swt", "haar", "fft", "dct")
    assert detect_config(state_of(BASE), experts=order).experts == order


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({"embed_dim": 64}, "embed_dim=64 (the tensors show 32)"),
        ({"depth": (3, 2)}, "depth=(3, 2) (the tensors show (3, 1))"),
        ({"num_heads": (8, 2)}, "num_heads=(8, 2) (the tensors show (4, 2))"),
        ({"mlp_ratio": 3}, "mlp_ratio=3 (the tensors show 2.0)"),
        ({"split_size": (8, 4)}, "split_size=(8, 4) (the tensors show (4, 8))"),
        ({"split_size": 8}, "split_size=8 (the tensors show (4, 8))"),
        ({"upsampler": "lightSR"}, "upsampler='lightSR' (the tensors show 'icar')"),
        ({"qkv_bias": False}, "qkv_bias=False (the tensors show True)"),
    ],
)
def test_keywords_may_not_contradict_the_tensors(given, seen):
    with pytest.raises(ValueError, match="keywords contradict") as caught:
        detect_config(state_of(BASE), **given)
    assert seen in str(caught.value)


def test_equivalent_keywords_are_no_contradiction():
    # An odd number of heads computes the same as the even number below; upscale is without
    # effect here; int(32 * 2.01) = int(64.32) = 64 = 32 * 2.
    config = detect_config(state_of(BASE), num_heads=(5, 3), upscale=2, mlp_ratio=2.01)
    assert (config.num_heads, config.upscale, config.mlp_ratio) == ((5, 3), 2, 2.01)


def test_unknown_keyword_is_a_type_error():
    with pytest.raises(TypeError, match=r"\['image_range'\]; allowed are \['in_chans'"):
        detect_config(state_of(BASE), image_range=255.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.clear(), "no tensor 'conv_first.weight'"),
        (lambda state: state.update({"conv_first.weight": np.zeros(3)}), "has shape (3,)"),
        (lambda state: state.update({"layers.7.blocks.0.x": np.zeros(1)}), "groups [0, 1, 7]"),
        (lambda state: state.pop("layers.0.blocks.0.ffn1.fc1.bias"), "ffn1.fc1.bias is missing"),
        (
            lambda state: state.update(
                {"layers.0.blocks.0.attn.attns.0.rpe_biases": np.full((105, 2), np.inf)}
            ),
            "rpe_biases is no table",
        ),
        # A .pth may declare any shape over one number; each of these took minutes and gigabytes.
        (
            lambda state: state.update({"conv_first.weight": expanded(2**27, 1, 1, 1)}),
            "axes of 1 to 65536",
        ),
    ],
)
def test_other_state_dicts_are_refused(change, message):
    state = state_of(BASE)
    change(state)
    with pytest.raises(ValueError, match=r"no ARMoE|cannot detect") as caught:
        detect_config(state)
    assert message in str(caught.value)


def test_more_than_a_network_can_have():
    state = state_of(BASE) | {"layers.1.blocks.99999.x": np.zeros(1)}
    with pytest.raises(ValueError, match="at most 1000 blocks"):
        detect_config(state)
    # (2 * 2000 - 1)^2 offsets, the first (-1999, -1999).
    table = np.broadcast_to(np.float32(-1999), (3999**2, 2))
    with pytest.raises(ValueError, match="at most 4096 pixels"):
        detect_config(state_of(BASE) | {"layers.0.blocks.0.attn.attns.0.rpe_biases": table})


def test_upscale_must_be_a_whole_number():
    state = state_of(dataclasses.replace(BASE, upsampler="lightSR", upscale=2))
    # 15 = 3 channels times 5, which is no square.
    state["upsample.0.weight"] = np.zeros((15, 32, 3, 3), np.float32)
    with pytest.raises(ValueError, match="has 15 outputs"):
        detect_config(state)


@pytest.mark.parametrize(
    ("hidden", "embed_dim", "ratio"),
    [(360, 180, 2.0), (64, 32, 2.0), (90, 60, 1.5), (478, 180, 85 / 32), (1, 3, 1 / 2)],
)
def test_simplest_ratio(hidden, embed_dim, ratio):
    # int(180 * 85 / 32) = int(478.1) = 478, and no fraction n/31, n/30, ... lies in
    # [478/180, 479/180); int(3 * 1/2) = 1.
    assert simplest_ratio(hidden, embed_dim) == ratio


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 1600))
def test_ratio_gives_back_the_width(embed_dim, hidden):
    assert int(embed_dim * simplest_ratio(hidden, embed_dim)) == hidden
