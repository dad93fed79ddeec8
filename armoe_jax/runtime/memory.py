"""How much memory there is, and giving back what is no longer used."""

import ctypes
import platform
from pathlib import Path

import jax
import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def available_bytes() -> int:
    """Returns the memory that the default device still has; on CPU, what this process may take.

    On CPU that is the machine's available RAM or, if lower, what the control groups of the process
    leave it.
    """
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        if "bytes_limit" in stats:
            return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    ram = psutil.virtual_memory().available
    cgroup = cgroup_available_bytes()
    return ram if cgroup is None else min(ram, cgroup)


def return_freed_memory() -> None:
    """Has the C library give memory that has been freed back to the system.

    glibc keeps most of it for later: 300 MB after compiling a large network, gigabytes after
    compiling its training step. Does nothing with other C libraries.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def cgroup_available_bytes(root: Path = CGROUPS, membership: Path = OWN_CGROUP) -> int | None:
    """Returns the least that any control group above this process leaves it; None if unlimited.

    Args:
        root: Where control groups are mounted (versions 1 and 2 are understood).
        membership: The process's list of its groups.
    """
    groups = [root, root / "memory"]
    if membership.is_file():
        for line in membership.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            base = root / "memory" if "memory" in controllers.split(",") else root
            group = base / path.lstrip("/")
            groups += [group, *(parent for parent in group.parents if parent.is_relative_to(base))]
    left = [_left(group) for group in groups]
    return min((value for value in left if value is not None), default=None)


def _left(group: Path) -> int | None:
    """Returns a group's limit less its use, not counting files that are merely cached."""
    names = (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    )
    for limit_name, usage_name, cache_name in names:
        try:
            limit = (group / limit_name).read_text().strip()
            usage = int((group / usage_name).read_text())
            stat = (group / "memory.stat").read_text().split()
        except OSError:
            continue
        if limit == "max":
            return None
        cached = dict(zip(stat[::2], stat[1::2], strict=False)).get(cache_name, "0")
        return int(limit) - usage + int(cached)
    return None
