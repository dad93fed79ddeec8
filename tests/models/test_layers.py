"""Initial values of layers."""

import jax
import jax.numpy as jnp
import numpy as np

from armoe_jax.models.layers import Conv, Dense


class TestInitialValues:
    def test_linear(self):
        params = Dense(64).init(jax.random.key(0), jnp.ones((1, 256)))["params"]
        np.testing.assert_array_equal(params["bias"], np.zeros(64))
        # 16384 draws: the standard deviation's own deviation is 0.02 / sqrt(2 * 16384) = 1.1e-4.
        assert abs(np.std(params["kernel"]) - 0.02) < 5 * 1.1e-4

    def test_convolution(self):
        params = Conv(32).init(jax.random.key(0), jnp.ones((1, 4, 4, 16)))["params"]
        bound = 1 / 12  # 1 / sqrt(3 * 3 * 16)
        for leaf in params.values():
            assert np.abs(leaf).max() <= bound
        # Of 4608 uniform draws the largest is within 1 % of the bound, but for e^-46.
        assert np.abs(params["kernel"]).max() > 0.99 * bound
        assert np.abs(params["bias"]).max() > 0.5 * bound

    def test_zero(self):
        params = Conv(3, zero_init=True).init(jax.random.key(0), jnp.ones((1, 4, 4, 2)))["params"]
        assert all(not np.any(leaf) for leaf in params.values())
