"""The activation against its definition."""

import jax.numpy as jnp
import numpy as np
import scipy.special

from armoe_jax.ops.activation import gelu


def test_gelu_is_the_exact_one():
    x = np.linspace(-6, 6, 241)
    exact = x * (1 + scipy.special.erf(x / np.sqrt(2))) / 2
    # The tanh approximation is off by up to 5e-4; float32 by well under 1e-6.
    np.testing.assert_allclose(gelu(jnp.asarray(x, jnp.float32)), exact, rtol=0, atol=1e-6)
