"""The same as `armoe-jax build-dataset`."""

from armoe_jax.cli import entry_point

if __name__ == "__main__":
    entry_point("build-dataset")
