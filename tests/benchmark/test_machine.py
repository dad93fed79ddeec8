import mmap

import numpy as np
import pytest

from armoe_jax.benchmark import machine


def test_peak_memory_sees_a_large_array():
    before = machine.peak_memory_bytes()
    array = np.ones(300_000_000 // 8)
    peak = machine.peak_memory_bytes()
    assert peak >= before
    assert peak >= array.nbytes


@pytest.mark.skipif(not machine.reset_peak_memory(), reason="the system cannot reset the peak")
def test_peak_memory_can_be_reset():
    size = 300_000_000
    # Not by malloc, which may have kept what others freed, and keep this.
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        np.frombuffer(memory, np.uint8)[:] = 1
        peak = machine.peak_memory_bytes()
    assert machine.reset_peak_memory()
    assert machine.peak_memory_bytes() < peak - size / 2
