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
    array = np.ones(300_000_000 // 8)
    peak = machine.peak_memory_bytes()
    size = array.nbytes
    del array
    assert machine.reset_peak_memory()
    assert machine.peak_memory_bytes() < peak - size / 2
