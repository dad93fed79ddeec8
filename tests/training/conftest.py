"""Tiny pairs of images and a tiny configuration, shared by the tests of training."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

import configs
from armoe_jax.runtime.files import written_beside
from armoe_jax.runtime.locks import locked

# Helper modules lie beside the tests.
sys.path.insert(0, str(Path(__file__).parent))

import training_runs


@pytest.fixture(scope="session")
def session_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this test session, the same for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def pairs_dir(session_dir: Path) -> Path:
    """Folders train/{gt,lq} and eval/{gt,lq}."""
    folder = session_dir / "pairs"
    with locked(session_dir / "pairs.lock", wait=True):
        if not folder.exists():
            with written_beside(folder) as new:
                training_runs.write_pairs(new)
    return folder


@pytest.fixture
def tiny_config(pairs_dir: Path) -> ConfigDict:
    """A configuration with a small network, 8 x 8 patches and 12 steps."""
    config = configs.load(training_runs.CONFIG, training_runs.tiny_overrides(pairs_dir))
    config.sharding.num_devices = 1
    return config


@pytest.fixture(scope="session")
def tiny_flags(pairs_dir: Path) -> list[str]:
    """`tiny_config` as command line flags."""
    return training_runs.flags_of(training_runs.tiny_overrides(pairs_dir))


@pytest.fixture(scope="session")
def xla_cache() -> Path:
    """Where all processes of a test session find what one of them has compiled."""
    return Path(os.environ["JAX_COMPILATION_CACHE_DIR"])


@pytest.fixture(scope="session")
def finished_run(
    session_dir: Path, tiny_flags: list[str], xla_cache: Path
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Working directory and output of an uninterrupted run, a process of its own."""
    workdir, output = session_dir / "finished_run", session_dir / "finished_run.pickle"
    with locked(session_dir / "finished_run.lock", wait=True):
        if not output.exists():
            output.write_bytes(pickle.dumps(training_runs.run(workdir, tiny_flags, xla_cache)))
    result = pickle.loads(output.read_bytes())
    assert result.returncode == 0, result.stderr
    return workdir, result
