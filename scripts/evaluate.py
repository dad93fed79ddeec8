"""Measures a network on two folders: `armoe-jax evaluate`."""

from armoe_jax.cli import entry_point

if __name__ == "__main__":
    entry_point("evaluate")
