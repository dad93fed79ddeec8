"""Converts a checkpoint: `python scripts/convert_checkpoint.py SRC DST` (= `armoe-jax convert`)."""

import sys

from armoe_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
