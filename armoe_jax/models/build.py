"""From an architecture to a network: which module belongs to which record."""

from collections.abc import Mapping
from typing import Any

from armoe_jax.models.armoe import ARMoE
from armoe_jax.models.armoe_w import ARMoEW
from armoe_jax.models.config import ARMoEConfig
from armoe_jax.models.windowed_config import ARMoEWConfig

AnyConfig = ARMoEConfig | ARMoEWConfig
Network = ARMoE | ARMoEW

MIXTURES: dict[str, tuple[type[AnyConfig], type[Network]]] = {
    "released": (ARMoEConfig, ARMoE),
    "windowed": (ARMoEWConfig, ARMoEW),
}
"""Value of the field `mixture` -> architecture record and module."""

_EXECUTION = ("dispatch", "capacity_factor", "scan", "remat", "dtype")


def config_from_dict(values: Mapping[str, Any]) -> AnyConfig:
    """Makes the architecture's record from a mapping of its fields, such as one read from JSON.

    Args:
        values: Fields; "mixture" tells which record they are of, "released" if it is absent.

    Raises:
        ValueError: A field is unknown or has a value that is not allowed.
    """
    mixture = values.get("mixture", "released")
    if not isinstance(mixture, str) or mixture not in MIXTURES:
        raise ValueError(f"mixture={mixture!r} is not allowed; choose one of {tuple(MIXTURES)}")
    return MIXTURES[mixture][0].from_dict(values)


def build_model(config: AnyConfig | Mapping[str, Any], **execution: Any) -> Network:
    """Makes the network from an architecture, or from a mapping such as `config.model`.

    Args:
        config: Architecture; a mapping may hold execution options too.
        **execution: Fields of the module other than the architecture; they override the mapping's.

    Raises:
        ValueError: A name is unknown or a value not allowed.
    """
    options: dict[str, Any] = {}
    if not isinstance(config, AnyConfig):
        values = dict(config)
        options = {name: values.pop(name) for name in _EXECUTION if name in values}
        config = config_from_dict(values)
    unknown = sorted(set(execution) - set(_EXECUTION))
    if unknown:
        raise ValueError(f"unknown execution options {unknown}; known are {sorted(_EXECUTION)}")
    module: Any = MIXTURES[config.mixture][1]
    return module(config, **(options | execution))


def execution_defaults(config: AnyConfig) -> dict[str, Any]:
    """Returns the execution options of an architecture's module, with their defaults."""
    module = MIXTURES[config.mixture][1]
    return {name: getattr(module, name) for name in _EXECUTION}
