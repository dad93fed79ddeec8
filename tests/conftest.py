"""Settings shared by all tests: virtual devices, shape checks, strict array rules."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from absl import flags
from jaxtyping import install_import_hook

NUM_VIRTUAL_DEVICES = 8

jax.config.update("jax_num_cpu_devices", NUM_VIRTUAL_DEVICES)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Grain's worker processes read absl flags, which only absl.app.run parses.
flags.FLAGS.mark_as_parsed()

_hook = install_import_hook(["armoe_jax", "input_pipeline"], "beartype.beartype")

TESTS = Path(__file__).parent
SHARED = TESTS.parent.parent / "shared"


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Reference outputs small enough to live in the repository."""
    return TESTS / "golden"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Large reference data kept beside the project; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the folder {SHARED.name}/ beside the project")
    return SHARED


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Has XLA optimize, as users do, for comparisons with the released network alone."""
    optimized = item.get_closest_marker("parity") is not None
    jax.config.update("jax_disable_most_optimizations", not optimized)
