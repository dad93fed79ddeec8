"""The frequency-domain experts, one file each: as released, and as frames for windows."""

from armoe_jax.experts.base import Expert, ExpertInputs
from armoe_jax.experts.table import EXPERTS, FRAMES

__all__ = ["EXPERTS", "FRAMES", "Expert", "ExpertInputs"]
