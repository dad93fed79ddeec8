"""One door to the architectures: each goes by its own rules, detection and obstacles."""

import dataclasses

import networks
import numpy as np
import pytest

from armoe_jax.convert import architecture_fields, detect_config, pth_obstacles, rules_of
from armoe_jax.models import ARMoEConfig

RELEASED = dataclasses.replace(networks.RELEASED, experts=ARMoEConfig().experts)


def test_each_architecture_has_rules_of_its_own():
    released, windowed = (
        {rule.name for rule in rules_of(c)} for c in (RELEASED, networks.WINDOWED)
    )
    assert "conv_first.weight" in released - windowed
    assert "conv_first.kernel" in windowed - released


def test_what_the_released_code_cannot_build():
    assert pth_obstacles(RELEASED) == []
    changed = dataclasses.replace(RELEASED, global_skip=True, quality_range=(17.0, 42.0))
    assert pth_obstacles(changed) == ["global_skip=True", "quality_range=(17.0, 42.0)"]
    # Shifted windows of 5 rows do not divide the 64 rows that the released masks are made for.
    uneven = dataclasses.replace(RELEASED, depth=(3,), split_size=(5, 8))
    assert pth_obstacles(uneven) == ["split_size=(5, 8) with shifted windows (must divide 64)"]
    assert pth_obstacles(dataclasses.replace(uneven, depth=(1,))) == []
    assert pth_obstacles(networks.WINDOWED) == ["mixture='windowed'"]


@pytest.mark.parametrize(
    ("name", "shown", "other"),
    [
        ("conv_first.weight", "released", "windowed"),
        ("conv_first.kernel", "windowed", "released"),
    ],
)
def test_a_mixture_that_the_names_contradict(name, shown, other):
    with pytest.raises(ValueError, match=f"mixture='{other}' contradicts .* a {shown} one"):
        detect_config({name: np.zeros(1)}, mixture=other)


def test_fields_of_all_architectures_come_once():
    fields = architecture_fields()
    assert len(fields) == len(set(fields))
    assert {"num_heads", "split_size", "depth", "mixture", "window", "grid"} <= set(fields)
