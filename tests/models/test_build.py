"""From a record or a mapping to the network that it belongs to."""

import json

import pytest

from armoe_jax.models import ARMoE, ARMoEConfig, ARMoEW, ARMoEWConfig, build_model
from armoe_jax.models.build import config_from_dict, execution_defaults

SMALL = ARMoEWConfig(embed_dim=8, depth=2, quality_range=(0.0, 8.0), interval_head=True, grid=16)


class TestBuildModel:
    def test_mapping_may_mix_architecture_and_execution(self):
        model = build_model({"embed_dim": 32, "scan": False, "dispatch": "dense"})
        assert model.config == ARMoEConfig(embed_dim=32)
        assert (model.scan, model.dispatch, model.capacity_factor) == (False, "dense", 2.0)

    def test_keywords_override_the_mapping(self):
        assert build_model({"scan": False}, scan=True).scan

    @pytest.mark.parametrize(
        ("option", "value"),
        [("dispatch", "top2"), ("dtype", "float16"), ("capacity_factor", 0.0), ("width", 3)],
    )
    def test_refuses_naming_the_option(self, option, value):
        with pytest.raises(ValueError, match=option):
            build_model(ARMoEConfig(), **{option: value})


def test_the_mixture_tells_the_network():
    assert config_from_dict({"depth": [1], "num_heads": [2]}) == ARMoEConfig(
        depth=(1,), num_heads=(2,)
    )
    assert config_from_dict({"mixture": "windowed", "depth": 3}) == ARMoEWConfig(depth=3)
    assert isinstance(build_model(SMALL), ARMoEW)
    assert isinstance(build_model({"mixture": "released"}), ARMoE)
    for value in ("shifted", None, 1):
        with pytest.raises(ValueError, match=r"choose one of \('released', 'windowed'\)"):
            config_from_dict({"mixture": value})


def test_survives_json():
    assert config_from_dict(json.loads(json.dumps(SMALL.to_dict()))) == SMALL


def test_one_mapping_may_hold_architecture_and_execution():
    model = build_model({**SMALL.to_dict(), "scan": True, "dtype": "bfloat16"}, scan=False)
    assert (model.config, model.scan, model.dtype) == (SMALL, False, "bfloat16")
    assert set(execution_defaults(SMALL)) == set(execution_defaults(ARMoEConfig()))
    with pytest.raises(ValueError, match=r"unknown execution options \['stride'\]"):
        build_model(SMALL, stride=2)
    with pytest.raises(ValueError, match=r"unknown architecture fields \['num_heads'\]"):
        build_model({"mixture": "windowed", "num_heads": 2})
