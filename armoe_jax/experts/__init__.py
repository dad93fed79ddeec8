"""The frequency-domain experts: "features and decay in, features out", one file each."""

from armoe_jax.experts.base import Expert, ExpertInputs
from armoe_jax.experts.table import EXPERTS

__all__ = ["EXPERTS", "Expert", "ExpertInputs"]
