"""Restoring images of any size with a trained network."""

from armoe_jax.restore.restorer import Restorer

__all__ = ["Restorer"]
