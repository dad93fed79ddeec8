"""The table between released names and parameter paths."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.convert import (
    check_variables,
    detect_config,
    export_variables,
    import_state_dict,
    read_torch,
    write_torch,
)
from armoe_jax.convert.armoe_rules import armoe_rules, pth_obstacles
from armoe_jax.convert.rules import Weight
from armoe_jax.models import VARIANTS, ARMoEConfig, build_model

SMALL = {"embed_dim": 36, "depth": (1, 2), "num_heads": (2, 4), "mlp_ratio": 1.5}
CONFIGS = {
    "icar": ARMoEConfig(**SMALL),
    "gray, three convolutions, no bias": ARMoEConfig(
        **SMALL, in_chans=1, resi_connection="3conv", qkv_bias=False
    ),
    "x3": ARMoEConfig(**SMALL, upsampler="lightSR", upscale=3, split_size=(2, 4)),
    "no tail": ARMoEConfig(**SMALL, upsampler=""),
    "two experts": ARMoEConfig(**SMALL, experts=("haar", "dct")),
    "no experts": ARMoEConfig(**SMALL, experts=()),
    "adaptive": ARMoEConfig(**SMALL, quality_range=(17.0, 42.0)),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_table_has_the_paths_and_shapes_of_the_model(config):
    shapes = jax.eval_shape(
        build_model(config).init, jax.random.key(0), jnp.zeros((1, 8, 8, config.in_chans))
    )
    check_variables(armoe_rules(config), shapes)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_names_and_paths_are_unique(config):
    rules = armoe_rules(config)
    assert len({rule.name for rule in rules}) == len(rules)
    paths = [rule.path for rule in rules if isinstance(rule, Weight)]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(("name", "expected"), [("car", 25_607_479), ("light_sr_x2", 845_028)])
def test_published_parameter_counts(name, expected):
    weights = [rule for rule in armoe_rules(VARIANTS[name]) if isinstance(rule, Weight)]
    counts = [np.prod(rule.shape) for rule in weights if rule.path.startswith("params/")]
    assert sum(counts) == expected


def assert_round_trip(path, tmp_path):
    """Every tensor of a released file, buffers too, comes back with its bits, in its order."""
    tensors = read_torch(path).tensors
    rules = armoe_rules(detect_config(tensors))
    imported = import_state_dict(rules, tensors)
    exported = export_variables(rules, imported.variables, imported.counters, constants=True)
    write_torch(tmp_path / "back.pth", exported)
    back = read_torch(tmp_path / "back.pth").tensors
    assert list(back) == list(tensors)
    for name, array in tensors.items():
        assert back[name].dtype == array.dtype, name
        assert back[name].tobytes() == array.tobytes(), name
    assert any(value > 0 for value in imported.counters.values())
    return tmp_path / "back.pth"


def test_round_trip_is_exact(lightsr_tiny, tmp_path):
    first = assert_round_trip(lightsr_tiny, tmp_path)
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    first.rename(tmp_path / "first.pth")
    second = assert_round_trip(tmp_path / "first.pth", tmp_path)
    assert hashlib.sha256(second.read_bytes()).hexdigest() == digest


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["car_tiny.pth", "car_tiny_ema.pth", "car_tiny_legacy.pth", "car_c96.pth"]
)
def test_golden_round_trips_are_exact(shared_dir, tmp_path, name):
    assert_round_trip(shared_dir / "golden" / name, tmp_path)


@pytest.mark.slow
@pytest.mark.data
def test_round_trip_of_the_published_light_sr(shared_dir, tmp_path):
    assert_round_trip(shared_dir / "golden" / "lightsr_x2.pth", tmp_path)


@pytest.mark.slow
def test_round_trip_of_a_full_size_network(tmp_path):
    rules = armoe_rules(VARIANTS["car"])
    rng = np.random.default_rng(0)
    tensors = {}
    for rule in rules:
        if isinstance(rule, Weight):
            tensors[rule.name] = rng.standard_normal(rule.shape, np.float32)
    write_torch(tmp_path / "weights.pth", tensors)
    state = read_torch(tmp_path / "weights.pth").tensors
    config = detect_config(state, split_size=(8, 32))
    assert config == VARIANTS["car"]
    imported = import_state_dict(rules, state)
    complete = export_variables(rules, imported.variables, imported.counters, constants=True)
    write_torch(tmp_path / "complete.pth", complete)
    back = read_torch(tmp_path / "complete.pth").tensors
    assert detect_config(back) == VARIANTS["car"]
    assert [rule.name for rule in rules] == list(back)
    for name, array in tensors.items():
        assert back[name].tobytes() == array.tobytes(), name
    # Of six blocks, even groups shift block 2, odd ones 0 and 4: 3 * 1 + 3 * 2 = 9 blocks with two
    # masks each, of 16 windows with 256 x 256 pairs.
    masks = [name for name in back if "attn_mask" in name]
    assert len(masks) == 18
    assert all(back[name].shape == (16, 256, 256) for name in masks)
    import_state_dict(rules, back)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"global_skip": True}, "global_skip"),
        ({"quality_range": (17.0, 42.0)}, "quality_range"),
        ({"experts": ("dct", "fft", "swt", "haar")}, "experts"),
        ({"experts": ()}, "experts"),
        ({"split_size": (6, 12), "depth": (3,), "num_heads": (2,)}, "split_size"),
    ],
)
def test_what_the_released_network_lacks(change, word):
    obstacles = pth_obstacles(ARMoEConfig(**{**SMALL, **change}))
    assert len(obstacles) == 1
    assert word in obstacles[0]


def test_what_the_released_network_has():
    assert pth_obstacles(CONFIGS["x3"]) == []
    # Without a shifted block there are no masks of 64 x 64, and any window will do.
    assert (
        pth_obstacles(ARMoEConfig(embed_dim=36, depth=(2,), num_heads=(2,), split_size=(6, 12)))
        == []
    )
