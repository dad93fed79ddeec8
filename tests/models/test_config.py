"""The architecture record: what it derives, accepts and refuses."""

import json
import math

import jax
import pytest

from armoe_jax.models import VARIANTS, ARMoEConfig, build_model, config_from_dict
from armoe_jax.models.blocks import shift_schedule


def test_defaults_are_the_released_ones():
    config = ARMoEConfig()
    assert (config.embed_dim, config.depth, config.num_heads) == (180, (2, 2, 2, 2), (2, 2, 2, 2))
    assert (config.mlp_ratio, config.split_size, config.upsampler) == (4.0, (8, 8), "icar")
    assert config.experts == ("dct", "fft", "haar", "swt")


@pytest.mark.parametrize(
    ("upsampler", "upscale", "scale"), [("icar", 4, 1), ("lightSR", 3, 3), ("", 2, 1)]
)
def test_scale(upsampler, upscale, scale):
    assert ARMoEConfig(upsampler=upsampler, upscale=upscale).scale == scale


def test_derived_sizes():
    config = ARMoEConfig(embed_dim=10, depth=(1, 4), num_heads=(2, 2), mlp_ratio=2.25)
    assert config.num_layers == 5
    assert config.hidden_dim == 22  # int(22.5)


@pytest.mark.parametrize("name", VARIANTS)
def test_survives_json(name):
    config = VARIANTS[name]
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_lists_and_whole_numbers_are_taken():
    config = ARMoEConfig.from_dict({"depth": [3], "num_heads": [2], "mlp_ratio": 2})
    assert config == ARMoEConfig(depth=(3,), num_heads=(2,), mlp_ratio=2.0)
    assert hash(config) == hash(ARMoEConfig(depth=(3,), num_heads=(2,), mlp_ratio=2.0))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("in_chans", 4),
        ("embed_dim", 31),
        ("embed_dim", 0),
        ("depth", ()),
        ("depth", (2, 0, 2, 2)),
        ("num_heads", (2, 2)),
        ("num_heads", (1, 2, 2, 2)),
        ("num_heads", (14, 2, 2, 2)),  # 90 channels do not split into 7 heads
        ("mlp_ratio", 0.0),
        ("upsampler", "pixelshuffle"),
        ("resi_connection", "2conv"),
        ("upscale", 0),
        ("img_range", 0.0),
        ("split_size", (0, 8)),
        ("drop_rate", 1.0),
        ("attn_drop_rate", -0.1),
        ("experts", ("dct", "wavelet")),
        ("experts", ("dct", "dct")),
        # Sizes that only files of others have.
        ("embed_dim", 10**400),
        ("depth", (10**9, 2, 2, 2)),
        ("mlp_ratio", math.inf),
        ("img_range", math.nan),
        ("img_range", math.inf),
        ("qk_scale", math.nan),
        ("upscale", 10**9),
        ("split_size", (2000, 2000)),
        ("quality_range", (math.nan, 1.0)),
    ],
)
def test_refuses_naming_field_and_value(field, value):
    with pytest.raises(ValueError, match=field):
        ARMoEConfig(**{field: value})


def test_refuses_unknown_fields():
    with pytest.raises(ValueError, match=r"unknown architecture fields \['width'\]; known are"):
        ARMoEConfig.from_dict({"width": 3})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("embed_dim", 32.0),
        ("embed_dim", True),
        ("embed_dim", [32]),
        ("in_chans", "3"),
        ("depth", 2),
        ("depth", "2222"),
        ("depth", ["2", 2, 2, 2]),
        ("num_heads", {"2": 2}),
        ("mlp_ratio", "2"),
        ("mlp_ratio", None),
        ("img_range", 10**400),
        ("split_size", [8.0, 8]),
        ("quality_range", ["a", "b"]),
        ("experts", [["dct"]]),
        ("experts", "dct"),
        ("qkv_bias", 1),
        ("upsampler", ["icar"]),
        ("resi_connection", None),
    ],
)
def test_refuses_values_of_other_types_out_of_files(field, value):
    with pytest.raises(ValueError, match=f"{field}=.* is not allowed; it must be"):
        ARMoEConfig.from_dict({field: value})


@pytest.mark.parametrize("heads", [2, 3])
def test_odd_head_counts_leave_one_out(heads):
    # 3 // 2 = 1 head an orientation, as released.
    assert ARMoEConfig(num_heads=(heads,) * 4).num_heads == (heads,) * 4


def test_shift_schedule():
    config = ARMoEConfig(depth=(7, 6), num_heads=(2, 2))
    # Even groups shift blocks 2 and 6, odd groups 0 and 4.
    assert shift_schedule(config) == [[0, 0, 1, 0, 0, 0, 1], [1, 0, 0, 0, 1, 0]]


class TestInputChecks:
    """Shapes are checked before anything runs."""

    @pytest.mark.parametrize(
        ("shape", "expert", "message"),
        [
            ((1, 8, 7, 3), None, "width 7 is odd"),
            ((1, 8, 8, 1), None, "1 channels.*in_chans=3"),
            ((1, 8, 8, 3), 4, "expert=4 does not exist; there are 4"),
            ((1, 8, 8, 3), -1, "expert=-1 does not exist"),
            ((2, 8, 8, 3), (2, 2), r"expected \(layers, images\) = \(3, 2\)"),
        ],
    )
    def test_refused(self, tiny, shape, expert, message):
        config, variables = tiny
        if isinstance(expert, tuple):
            expert = jax.numpy.zeros(expert, jax.numpy.int32)
        with pytest.raises(ValueError, match=message):
            build_model(config).apply(variables, jax.numpy.zeros(shape), expert=expert)
