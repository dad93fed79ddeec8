"""What depends on the platform that a program is compiled for, in one place."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def materialise(x: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
    """Returns x; on CPU as an array of its own rather than an expression inside later loops.

    XLA's CPU compiler moves the slicing of stacked parameters into the loops that use them, which
    then are not vectorised (3 times slower depthwise convolutions), and it drops optimisation
    barriers before it does so. A product with the identity cannot be moved. For small arrays.
    """

    def product(x: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
        return jnp.matmul(jnp.eye(x.shape[0], dtype=x.dtype), x, precision="highest")

    return jax.lax.platform_dependent(x, cpu=product, default=lambda x: x)
