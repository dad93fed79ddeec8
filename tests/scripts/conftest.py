"""Puts the maintainers' scripts, and the helpers of the tests of training, within reach."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts" / "maintain"), str(ROOT / "tests" / "training")]
