"""Matrix products over the channel axis."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def dense(
    x: Float[Array, "*lead c"],
    kernel: Float[Array, "c o"],
    bias: Float[Array, " o"] | None,
    dtype: jnp.dtype,
) -> Float[Array, "*lead o"]:
    """Returns x @ kernel + bias with operands in `dtype` and sums in float32.

    The result has the type of x: activations stay as precise as the caller keeps them.
    """
    y = jax.lax.dot_general(
        x.astype(dtype),
        kernel.astype(dtype),
        (((x.ndim - 1,), (0,)), ((), ())),
        preferred_element_type=jnp.float32,
    )
    if bias is not None:
        y = y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)
    return y.astype(x.dtype)
