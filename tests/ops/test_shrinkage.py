import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from armoe_jax.ops.shrinkage import shrink


def test_shrinks_towards_zero():
    x = jnp.array([-2.0, -0.5, 0.0, 0.25, 3.0]).reshape(1, 5, 1)
    y = shrink(x, jnp.full((1, 1, 1), 0.5))
    np.testing.assert_allclose(y.ravel(), [-1.5, 0.0, 0.0, 0.0, 2.5])
    np.testing.assert_array_equal(shrink(x, jnp.zeros((1, 1, 1))), x)


def test_gradients_equal_finite_differences():
    # Values away from the kinks at +-0.7, where no difference is a derivative.
    x = jnp.array([-2.0, -0.9, -0.2, 0.3, 1.4, 2.2]).reshape(2, 3, 1)
    threshold = jnp.array([0.7, 0.4]).reshape(2, 1, 1)
    # The differences come as NumPy arrays.
    function = lambda *values: shrink(*map(jnp.asarray, values))  # noqa: E731
    check_grads(function, (x, threshold), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)
    grads = jax.grad(lambda t: (shrink(x, t) * jnp.arange(6.0).reshape(2, 3, 1)).sum())(threshold)
    # Row 0: +0 and +1 for the negative ones beyond 0.7; row 1: -4 and -5 (0.3 is below 0.4).
    np.testing.assert_allclose(grads.ravel(), [1.0, -9.0])
