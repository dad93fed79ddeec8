"""How many processor cores there are for this process."""

import os


def usable_cores() -> int:
    """Returns the cores that this process may run on, or all of them where no one can tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
