"""Inputs of all experts."""

import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.experts import ExpertInputs
from armoe_jax.ops.transforms import Decay, heat_decay

B, H, W, C = 3, 5, 4, 6


@pytest.fixture(scope="package")
def inputs():
    """Random images of odd height under a decay that differs between channels."""
    rng = np.random.default_rng(0)
    values, features = (jnp.asarray(rng.normal(size=(B, H, W, C)), jnp.float32) for _ in range(2))
    decay = heat_decay(jnp.linspace(0.0, 1.0, C), H, W)
    return ExpertInputs(values=values, features=features, decay=decay)


@pytest.fixture(scope="package")
def weights_of():
    """Returns a decay's weights A[h, w, c] in full."""

    def weights(decay: Decay) -> np.ndarray:
        return np.asarray(decay.rows)[:, None] * np.asarray(decay.columns)[None]

    return weights
