"""Reference values and a photograph, shared by the tests of image metrics."""

import numpy as np
import pytest


@pytest.fixture(scope="package")
def golden(golden_dir):
    with np.load(golden_dir / "metrics.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="package")
def photo(golden):
    """A 192x240 picture, large enough for five scales."""
    return np.tile(golden["pair2/a"], (2, 2, 1))[:192, :240]
