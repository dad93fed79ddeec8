"""The machine that benchmarks run on: what it is, and how much memory a process took of it."""

import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

import jax
import psutil

from armoe_jax.runtime import huge_pages
from armoe_jax.runtime.cores import usable_cores


def describe_machine() -> dict[str, Any]:
    """Returns processor, cores, memory, accelerator and versions; no names of hosts or folders."""
    device = jax.devices()[0]
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "platform": device.platform,
        "device_kind": device.device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "malloc": os.environ.get(huge_pages.VARIABLE, ""),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def reset_peak_memory() -> bool:
    """Makes the process's peak memory count from now on; returns whether the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return _high_water_mark() is not None


def peak_memory_bytes() -> int:
    """Returns the largest resident memory of this process since the last reset (or its start)."""
    mark = _high_water_mark()
    if mark is not None:
        return mark
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _high_water_mark() -> int | None:
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None
