"""Views and storages that a pickle describes: only those that there can be."""

import numpy as np
import pytest
from refusals import refusal


def test_numbers_that_are_too_large_for_numpy(torch_files, fake_tensor):
    # Strides in bytes beyond 64 bits raised OverflowError.
    tensor = fake_tensor(np.zeros(1, np.float32), (1,), (2**62,))
    assert str(2**48) in refusal(torch_files.zip({"w": tensor}))
    empty = fake_tensor(np.zeros(1, np.float32), (0, 2**47, 2**47), (1, 1, 1))
    refusal(torch_files.zip({"w": empty}))


@pytest.mark.parametrize("write", ["zip", "legacy"])
@pytest.mark.parametrize(
    ("shape", "stride", "offset"),
    [((7,), (1,), 0), ((6,), (1,), 1), ((2, 2), (5, 1), 0), ((1,), (1,), 6), ((), (), 6)],
)
def test_tensors_past_the_end_of_their_storage(
    torch_files, fake_tensor, write, shape, stride, offset
):
    # Six elements: the last is number 5, and each of these would read number 6.
    tensor = fake_tensor(np.arange(6, dtype=np.float32), shape, stride, offset)
    message = refusal(getattr(torch_files, write)({"weight": tensor}))
    assert "past the end of its storage '0' of 6 elements" in message


@pytest.mark.parametrize(
    ("shape", "stride", "offset"),
    [((-2,), (1,), 0), ((2,), (-1,), 1), ((2,), (1,), -1), ((2.0,), (1,), 0), ((2, 2), (1,), 0)],
)
def test_impossible_views(torch_files, fake_tensor, shape, stride, offset):
    tensor = fake_tensor(np.arange(6, dtype=np.float32), shape, stride, offset)
    assert "stride" in refusal(torch_files.zip({"weight": tensor}))
