"""The kit for a GPU machine without a network packs what the project requires there.

What those packages require in turn is tried by its rehearsal: it changes with their releases.
"""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
KIT = ROOT / "scripts" / "maintain" / "gpu"
PACKED_OTHERWISE = {"imageio-ffmpeg", "pyvips"}
LEFT_OUT = {"av"}  # for videos


def test_every_requirement_of_the_project_is_on_the_machine():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    kit = _names([*_lines("machine.txt"), *_lines("wheels.txt")])
    assert _names(project["dependencies"]) - kit == PACKED_OTHERWISE | LEFT_OUT


def test_nothing_is_packed_that_the_machine_has():
    assert not _names(_lines("machine.txt")) & _names(_lines("wheels.txt"))


def _names(lines: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in lines}


def _lines(name: str) -> list[str]:
    lines = (KIT / name).read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]
