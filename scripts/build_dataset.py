"""The same as `armoe-jax build-dataset`."""

import sys

from armoe_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["build-dataset", *sys.argv[1:]]))
