"""Gives memory that is no longer used back to the system."""

import ctypes
import platform


def return_freed_memory() -> None:
    """Has the C library give memory that has been freed back to the system.

    glibc keeps most of it for later: 300 MB after compiling a large network, gigabytes after
    compiling its training step. Does nothing with other C libraries.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
