"""Writes beside a run what it was made with: configuration, versions, devices."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from armoe_jax.runtime.json_files import read_json, write_json

CONFIG_FILE = "config.json"
ENVIRONMENT_FILE = "environment.json"
_PACKAGES = (
    "armoe-jax",
    "clu",
    "flax",
    "grain",
    "imageio-ffmpeg",
    "jax",
    "jaxlib",
    "ml-collections",
    "numpy",
    "optax",
    "orbax-checkpoint",
    "scikit-image",
)


def save_run_info(workdir: str | Path, config: Mapping[str, Any], *, step: int) -> None:
    """Writes WORKDIR/config.json, and adds this start to WORKDIR/environment.json.

    Args:
        workdir: Working directory.
        config: The whole configuration as plain values.
        step: Step at which the run starts or continues.
    """
    workdir = Path(workdir)
    write_json(workdir / CONFIG_FILE, config)
    path = workdir / ENVIRONMENT_FILE
    try:
        starts = read_json(path)["starts"]
    except (OSError, ValueError, KeyError, TypeError):
        starts = []
    write_json(path, {"starts": [*starts, {"step": step, **describe_environment()}]})


def describe_environment() -> dict[str, Any]:
    """Returns git revision, package versions, devices and command line of this process."""
    return {
        "command": sys.argv,
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "processes": jax.process_count(),
        "devices": [str(device) for device in jax.devices()],
        "device_kind": jax.devices()[0].device_kind,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def git_revision() -> str | None:
    """Returns the commit this package is at, with "+" if files are changed; None outside git."""
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        tracked = _git(folder, "ls-files", "--", str(Path(__file__)))
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    # Without the second question an installed copy below somebody's repository would report it.
    return commit + ("+" if changed else "") if tracked else None


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return result.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
