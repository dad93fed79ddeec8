"""The same as `armoe-jax benchmark`."""

from armoe_jax.cli import entry_point

if __name__ == "__main__":
    entry_point("benchmark")
