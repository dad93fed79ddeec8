"""Files of networks with a windowed mixture: names, detection, round trips, refusals."""

import dataclasses

import jax
import numpy as np
import pytest

from armoe_jax.checkpoints.folder import LoadedModel
from armoe_jax.checkpoints.weights import load_weights, save_weights
from armoe_jax.convert import detect_config, export_variables, import_state_dict, rules_of
from armoe_jax.convert.rules import variable_shapes
from armoe_jax.models import ARMoEWConfig

# Widths that differ, so that no array fits turned.
SMALL = ARMoEWConfig(embed_dim=5, depth=2, pairs=2, expert_dim=3, window=4)
JPEG = {"quality_range": (0.0, 8.0), "interval_head": True}
CONFIGS = {
    "all experts": SMALL,
    "gray, half resolution": dataclasses.replace(SMALL, in_chans=1, stride=2, depth=1),
    "for JPEG": dataclasses.replace(SMALL, **JPEG, grid=8, experts=("haar", "swt")),
    "without experts": dataclasses.replace(SMALL, **JPEG, experts=(), window=8, expert_dim=32),
    "adaptive": dataclasses.replace(
        SMALL,
        quality_range=(17.0, 42.0),
        quality_estimator="attention",
        pairs=1,
        adapt_experts=True,
        share_mixings=True,
    ),
    "specialists": dataclasses.replace(
        SMALL,
        quality_range=(17.0, 42.0),
        experts=(),
        window=8,
        expert_dim=32,
        specialists=(25.0, 33.0),
    ),
}


def draw(config):
    rng = np.random.default_rng(0)
    variables = {}
    for path, shape in variable_shapes(rules_of(config)).items():
        folder = variables
        *parents, name = path.split("/")
        for parent in parents:
            folder = folder.setdefault(parent, {})
        folder[name] = rng.normal(size=shape).astype(np.float32)
    return variables


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_names_and_shapes_tell_the_architecture(config):
    rules = rules_of(config)
    tensors = export_variables(rules, draw(config), {}, constants=True)
    given = {"quality_range": config.quality_range, "specialists": config.specialists}
    assert detect_config(tensors, **given) == config
    back = import_state_dict(rules, tensors).variables
    jax.tree.map(np.testing.assert_array_equal, back, draw(config))


@pytest.mark.parametrize("name", ["net.safetensors", "folder"])
def test_files_bring_back_what_was_written(tmp_path, name):
    config = CONFIGS["for JPEG"]
    save_weights(tmp_path / name, LoadedModel(config, draw(config), {"source": "test"}))
    loaded = load_weights(tmp_path / name)
    assert loaded.config == config
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, draw(config))


def test_pth_files_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"net.pth: the released network has no mixture='windowed"):
        save_weights(tmp_path / "net.pth", LoadedModel(SMALL, draw(SMALL)))
    assert list(tmp_path.iterdir()) == []


def without(name):
    config = CONFIGS["adaptive"]
    tensors = export_variables(rules_of(config), draw(config), {}, constants=True)
    return {key: value for key, value in tensors.items() if not key.startswith(name)}


@pytest.mark.parametrize(
    ("tensors", "given", "message"),
    [
        (without("none"), {}, "quality_range=\\(0, 8\\) for JPEG"),
        (without("none"), {"num_heads": 2}, "unknown architecture keywords"),
        (without("group_0"), {}, r"blocks \[\] of 'group_0.block_' do not count"),
        # What a file says of its tensors, with the other record's fields beside.
        (without("none"), {"mixture": "released", "num_heads": (2,)}, "those of a windowed one"),
        ({"conv_first.weight": np.zeros(1)}, {"mixture": "windowed"}, "those of a released one"),
        (without("group_0.block_0"), {}, r"blocks \[1\] of"),
        (without("none"), {"quality_range": (17, 42), "depth": 200}, r"depth=200 .* show 2\)"),
        ({"conv_first.kernel": np.zeros((3, 3, 7, 5))}, {}, "7 input channels"),
        ({"conv_first.kernel": np.zeros((3, 3, 5))}, {}, r"shape \(3, 3, 5\); 4 axes"),
    ],
)
def test_what_cannot_be_detected(tensors, given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        detect_config(tensors, **given)


def test_where_specialists_take_over_must_be_told():
    config = CONFIGS["specialists"]
    tensors = export_variables(rules_of(config), draw(config), {}, constants=True)
    for given in ({}, {"specialists": (28,)}):
        with pytest.raises(ValueError, match="give the 2 qualities at which another of the 3"):
            detect_config(tensors, quality_range=config.quality_range, **given)


def test_the_window_of_a_stationary_expert_must_be_told():
    config = dataclasses.replace(SMALL, experts=("swt",))
    tensors = export_variables(rules_of(config), draw(config), {}, constants=True)
    with pytest.raises(ValueError, match="give the keyword window"):
        detect_config(tensors)
    assert detect_config(tensors, window=4) == config
