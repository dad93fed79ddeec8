"""The networks as Flax Linen modules: ARMoE as released, and ARMoE-W with a windowed mixture."""

from armoe_jax.models.armoe import ARMoE
from armoe_jax.models.armoe_w import ARMoEW
from armoe_jax.models.build import AnyConfig, Network, build_model, config_from_dict
from armoe_jax.models.config import ARMoEConfig
from armoe_jax.models.routing import Routing
from armoe_jax.models.variants import VARIANTS
from armoe_jax.models.windowed_config import ARMoEWConfig

__all__ = [
    "VARIANTS",
    "ARMoE",
    "ARMoEConfig",
    "ARMoEW",
    "ARMoEWConfig",
    "AnyConfig",
    "Network",
    "Routing",
    "build_model",
    "config_from_dict",
]
