"""Tiny pairs of images and a tiny configuration, shared by the tests of training."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

import configs

# Helper modules lie beside the tests.
sys.path.insert(0, str(Path(__file__).parent))

import training_runs


@pytest.fixture(scope="session")
def pairs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders train/{gt,lq} and eval/{gt,lq}."""
    folder = tmp_path_factory.mktemp("pairs")
    training_runs.write_pairs(folder)
    return folder


@pytest.fixture
def tiny_config(pairs_dir: Path) -> ConfigDict:
    """The base configuration with a network of one block, 8 x 8 patches and 12 steps."""
    config = configs.load("configs/base.py", training_runs.tiny_overrides(pairs_dir))
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
    tmp_path_factory: pytest.TempPathFactory, tiny_flags: list[str], xla_cache: Path
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Working directory and output of an uninterrupted run, a process of its own."""
    workdir = tmp_path_factory.mktemp("finished_run")
    result = training_runs.run(workdir, tiny_flags, xla_cache)
    assert result.returncode == 0, result.stderr
    return workdir, result
