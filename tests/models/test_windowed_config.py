"""The architecture record of windowed mixtures: what it derives, accepts and refuses."""

import dataclasses

import pytest

from armoe_jax.models import ARMoEWConfig

SMALL = ARMoEWConfig(embed_dim=8, depth=2, quality_range=(0.0, 8.0), interval_head=True, grid=16)


@pytest.mark.parametrize(
    ("changes", "alignment"),
    [({}, 16), ({"grid": 0}, 8), ({"window": 32}, 32), ({"stride": 2}, 16)],
)
def test_alignment(changes, alignment):
    assert dataclasses.replace(SMALL, **changes).alignment == alignment


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("mixture", "released", "'windowed'"),
        ("in_chans", 4, "1 or 3"),
        ("depth", 0, "1 to 256"),
        ("depth", 10**9, "1 to 256"),  # a description of few bytes built networks for ever
        ("pairs", 200, "at most 256 in all 2 blocks together"),
        ("embed_dim", 10**400, "1 to 65536"),
        ("expert_dim", 2**17, "1 to 65536"),
        ("stride", 3, "1 or 2"),
        ("window", 6, "one of"),
        ("route", "pixel", "'window', 'image'"),
        ("experts", ("dct", "cosine"), "names out of"),
        ("experts", ("dct", "dct"), "each name once"),
        ("quality_range", (1.0,), "two qualities"),
        ("quality_range", (), "False without a quality_range"),
        ("quality_estimator", "median", "one of ('mean', 'attention')"),
        ("grid", -8, "one of (0, 2, 4"),
        ("grid", 12, "one of (0, 2, 4"),  # would not meet the windows where tiles start
    ],
)
def test_refuses_naming_field_and_value(field, value, allowed):
    with pytest.raises(ValueError, match=rf"{field}=|interval_head=") as error:
        dataclasses.replace(SMALL, **{field: value})
    assert allowed in str(error.value)


def test_an_estimator_needs_a_quality_to_estimate():
    with pytest.raises(ValueError, match=r"quality_estimator='attention'.*'mean' without"):
        ARMoEWConfig(quality_estimator="attention")


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"specialists": (4.0,)}, "() in a network with experts"),
        ({"specialists": (4.0, 3.0), "experts": ()}, "at most 7 rising qualities between 0 and 8"),
        ({"specialists": (8.0,), "experts": ()}, "at most 7 rising qualities between 0 and 8"),
        ({"specialists": tuple(i / 2 for i in range(1, 9)), "experts": ()}, "at most 7 rising"),
        (
            {"specialists": (4.0,), "experts": (), "quality_range": (), "interval_head": False},
            "() without a quality_range",
        ),
    ],
)
def test_refuses_specialists_that_no_quality_could_choose(changes, allowed):
    with pytest.raises(ValueError, match="specialists=") as error:
        dataclasses.replace(SMALL, **changes)
    assert allowed in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("specialists", 28),
        ("specialists", ["28"]),
        ("depth", 2.5),
        ("depth", [2]),
        ("interval_head", 1),
        ("experts", [1]),
        ("quality_range", 3),
    ],
)
def test_refuses_values_of_other_types_out_of_files(field, value):
    with pytest.raises(ValueError, match=f"{field}="):
        ARMoEWConfig.from_dict({field: value})
