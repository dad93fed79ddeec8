"""The same as `armoe-jax benchmark`."""

import sys

from armoe_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
