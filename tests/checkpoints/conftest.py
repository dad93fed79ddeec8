"""Puts the helpers of the tests of training within reach: they write workdirs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
