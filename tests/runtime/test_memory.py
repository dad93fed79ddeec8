"""How much memory there is, from control groups of both versions, and giving it back."""

import types

import psutil
import pytest

from armoe_jax.runtime import memory
from armoe_jax.runtime.memory import available_bytes, cgroup_available_bytes

MIB = 2**20


def make_group(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


@pytest.fixture
def membership(tmp_path):
    path = tmp_path / "membership"
    path.write_text("0::/jobs/one\n")
    return path


def test_version_2_takes_the_tightest_group_above(tmp_path, membership):
    make_group(tmp_path / "cg", {})
    make_group(
        tmp_path / "cg/jobs",
        {
            "memory.max": str(100 * MIB),
            "memory.current": str(70 * MIB),
            "memory.stat": f"anon 1\ninactive_file {20 * MIB}\n",
        },
    )
    make_group(
        tmp_path / "cg/jobs/one",
        {"memory.max": "max\n", "memory.current": "5", "memory.stat": "inactive_file 0\n"},
    )
    # 100 - (70 - 20) = 50: files that are merely cached can be dropped.
    assert cgroup_available_bytes(tmp_path / "cg", membership) == 50 * MIB


def test_version_1(tmp_path):
    membership = tmp_path / "membership"
    membership.write_text("5:cpu,cpuacct:/x\n4:memory:/box\n")
    make_group(
        tmp_path / "cg/memory/box",
        {
            "memory.limit_in_bytes": str(64 * MIB),
            "memory.usage_in_bytes": str(10 * MIB),
            "memory.stat": f"total_inactive_file {4 * MIB}\n",
        },
    )
    assert cgroup_available_bytes(tmp_path / "cg", membership) == 58 * MIB


def test_no_groups(tmp_path):
    assert cgroup_available_bytes(tmp_path / "none", tmp_path / "none") is None


def test_never_more_than_the_machine_has():
    assert 0 < available_bytes() <= psutil.virtual_memory().total


@pytest.mark.parametrize(("libc", "calls"), [("glibc", [0]), ("", [])])
def test_only_glibc_is_asked_to_give_memory_back(monkeypatch, libc, calls):
    asked = []
    library = types.SimpleNamespace(malloc_trim=asked.append)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: (libc, ""))
    memory.return_freed_memory()
    assert asked == calls
