"""Settings shared by all tests: virtual devices, shape checks, strict array rules, one cache."""

import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Helper modules lie beside the tests.
sys.path.insert(0, str(Path(__file__).parent))

import jax
import pytest
from absl import flags
from jaxtyping import install_import_hook

NUM_VIRTUAL_DEVICES = 8

# One folder of compiled programs for all: workers of pytest-xdist, and the programs that tests
# start, inherit the variable; whoever made the folder removes it.
CACHE, SHORTEST = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
own_cache = None if CACHE in os.environ else tempfile.mkdtemp(prefix="armoe_jax_tests_")
os.environ[CACHE] = own_cache or os.environ[CACHE]
os.environ.setdefault(SHORTEST, "0.1")
jax.config.update("jax_compilation_cache_dir", os.environ[CACHE])
jax.config.update("jax_persistent_cache_min_compile_time_secs", float(os.environ[SHORTEST]))

# Most of the suite's time is XLA's. What tests start need not optimize more than they do, and the
# fusion emitters of JAX before 0.11 more than double the time of compilation.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
if jax.__version_info__ < (0, 11):
    flags_of_xla = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{flags_of_xla} {os.environ.get('XLA_FLAGS', '')}".strip()

jax.config.update("jax_num_cpu_devices", NUM_VIRTUAL_DEVICES)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Grain's worker processes read absl flags, which only absl.app.run parses.
flags.FLAGS.mark_as_parsed()

CHECKED = [f"armoe_jax.{room}" for room in ("experts", "metrics", "models", "ops")]
_hook = install_import_hook(CHECKED, "beartype.beartype")

# Machines that only train have none of these; their tests cannot even be collected there.
_NEED = {
    "av": ["video", "commands/test_restore.py"],
    "bjontegaard": ["metrics/test_bd.py"],
    "nbformat": ["scripts/test_notebook.py"],
}
collect_ignore = [
    path for name, paths in _NEED.items() if not importlib.util.find_spec(name) for path in paths
]

TESTS = Path(__file__).parent
SHARED = TESTS.parent.parent / "shared"


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Reference outputs small enough to live in the repository."""
    return TESTS / "golden"


@pytest.fixture(scope="session")
def make_variables():
    """Random weights for a config."""
    import networks

    return networks.random_variables


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Large reference data kept beside the project; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the folder {SHARED.name}/ beside the project")
    return SHARED


def pytest_unconfigure() -> None:
    if own_cache:
        shutil.rmtree(own_cache, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Has XLA optimize, as users do, where the released network or a GPU is looked at.

    Comparisons with the released network take float32 at its word: accelerators multiply with fewer
    bits unless asked. Tests of a GPU are skipped where JAX does not use one.
    """
    parity, gpu = (item.get_closest_marker(name) is not None for name in ("parity", "gpu"))
    jax.config.update("jax_disable_most_optimizations", not (parity or gpu))
    jax.config.update("jax_default_matmul_precision", "highest" if parity else None)
    if gpu and jax.default_backend() != "gpu":
        pytest.skip("needs a GPU, and JAX_PLATFORMS=cuda,cpu")
