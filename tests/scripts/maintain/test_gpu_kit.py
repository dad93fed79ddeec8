"""The kit for a GPU machine without a network packs what the project needs there."""

import importlib.metadata
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
KIT = ROOT / "scripts" / "maintain" / "gpu"
MACHINE = {
    "python_version": "3.12",
    "python_full_version": "3.12.0",
    "sys_platform": "linux",
    "platform_machine": "x86_64",
}
PACKED_OTHERWISE = {"imageio-ffmpeg", "promise", "pyvips"}
LEFT_OUT = {"av", "pyarrow"}


def test_nothing_that_the_project_needs_is_missing_on_the_machine():
    wheels = {canonicalize_name(line) for line in _lines("wheels.txt")}
    here = _closure(_lines("machine.txt"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    # Shapes are checked by beartype in tests.
    needed = _closure([*project, "beartype"])
    assert needed - here - wheels == PACKED_OTHERWISE | LEFT_OUT


def _lines(name: str) -> list[str]:
    lines = (KIT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _closure(lines: list[str]) -> set[str]:
    """Returns the names of these requirements and, as installed here, of all that they require."""
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            waiting += [r for r in _required_by(name) if _applies(r, extra)]
    return {name for name, _ in seen}


def _required_by(name: str) -> list[Requirement]:
    try:
        return [Requirement(line) for line in importlib.metadata.requires(name) or []]
    except importlib.metadata.PackageNotFoundError:
        return []


def _applies(requirement: Requirement, extra: str) -> bool:
    return not requirement.marker or requirement.marker.evaluate(MACHINE | {"extra": extra})
