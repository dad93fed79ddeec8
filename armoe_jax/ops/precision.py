"""Which precision sums and sensitive parts are computed in."""

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike


def wide(dtype: DTypeLike) -> np.dtype:
    """Returns the type itself, but at least float32 (so bfloat16 is widened, float64 kept)."""
    return jnp.promote_types(dtype, jnp.float32)
