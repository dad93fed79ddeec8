"""Converts a checkpoint: `python scripts/convert_checkpoint.py SRC DST` (= `armoe-jax convert`)."""

from armoe_jax.cli import entry_point

if __name__ == "__main__":
    entry_point("convert")
