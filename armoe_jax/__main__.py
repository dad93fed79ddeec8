"""`python -m armoe_jax`: the same as the console command `armoe-jax`."""

from armoe_jax.cli import entry_point

if __name__ == "__main__":
    entry_point()
