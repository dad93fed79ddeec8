"""The ARMoE network as Flax Linen modules."""

from armoe_jax.models.armoe import ARMoE, build_model
from armoe_jax.models.config import ARMoEConfig
from armoe_jax.models.routing import Routing
from armoe_jax.models.variants import VARIANTS

__all__ = ["VARIANTS", "ARMoE", "ARMoEConfig", "Routing", "build_model"]
