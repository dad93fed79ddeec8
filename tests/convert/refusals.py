"""What reading says of files that it must refuse."""

import numpy as np
import pytest

from armoe_jax.convert import read_torch

ARRAYS = {"weight": np.arange(600, dtype=np.float32).reshape(20, 30)}


def refusal(path, key="auto"):
    """Returns the message of the error that reading must raise: one line that names the file."""
    with pytest.raises(ValueError, match="cannot read") as caught:
        read_torch(path, key)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    assert len(message) < 1000
    return message
