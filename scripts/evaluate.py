"""Measures a network on two folders: `armoe-jax evaluate`."""

import sys

from armoe_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
