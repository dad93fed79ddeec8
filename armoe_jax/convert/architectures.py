"""Which rules belong to which architecture."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from armoe_jax.convert import armoe_rules as released
from armoe_jax.convert import detect
from armoe_jax.convert.rules import Rule
from armoe_jax.convert.windowed_rules import detect_windowed, is_windowed, windowed_rules
from armoe_jax.models.build import MIXTURES, AnyConfig
from armoe_jax.models.windowed_config import ARMoEWConfig


def rules_of(config: AnyConfig) -> tuple[Rule, ...]:
    """Returns the rules for every tensor of a network."""
    if isinstance(config, ARMoEWConfig):
        return windowed_rules(config)
    return released.armoe_rules(config)


def pth_obstacles(config: AnyConfig) -> list[str]:
    """Lists what keeps a network from being one that the released code can build."""
    if isinstance(config, ARMoEWConfig):
        return [f"mixture={config.mixture!r}"]
    return released.pth_obstacles(config)


def detect_config(tensors: Mapping[str, np.ndarray], **given: Any) -> AnyConfig:
    """Returns the architecture that a state dict belongs to; see `detect` and `windowed_rules`.

    Raises:
        ValueError: Names and shapes belong to no network or to another than is given, or a field
            can neither be seen nor is given.
        TypeError: A keyword is no field of the architecture.
    """
    shown = "windowed" if is_windowed(tensors) else "released"
    if given.get("mixture", shown) != shown:
        raise ValueError(
            f"mixture={given['mixture']!r} contradicts the state dict, whose tensors are those of "
            f"a {shown} one"
        )
    if shown == "released":
        return detect.detect_config(tensors, **given)
    allowed = list(ARMoEWConfig.__dataclass_fields__)
    if unknown := sorted(set(given) - set(allowed)):
        raise TypeError(f"unknown architecture keywords {unknown}; allowed are {allowed}")
    return ARMoEWConfig.from_dict({**detect_windowed(tensors, given), **given})


def architecture_fields() -> list[str]:
    """Returns the names of the fields that some architecture has."""
    records = (record for record, _ in MIXTURES.values())
    return list(dict.fromkeys(name for record in records for name in record.__dataclass_fields__))
