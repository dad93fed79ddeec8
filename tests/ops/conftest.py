"""Reference values of the released network's parts, and tolerances for them."""

import numpy as np
import pytest


@pytest.fixture(scope="package")
def components(golden_dir):
    """One block of a small released network, stage by stage."""
    with np.load(golden_dir / "components.npz") as file:
        return dict(file)


@pytest.fixture(scope="package")
def tolerance(components):
    """Ten times the reference's own float32 error, or 1e-5 of the largest value."""

    def of(name):
        largest = np.abs(components[name]).max()
        return max(10 * float(components[f"f64diff/{name}"]), 1e-5 * largest)

    return of
