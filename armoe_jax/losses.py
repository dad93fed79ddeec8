"""Training losses between a restored image and its original."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

Loss = Callable[[Float[Array, "b h w c"], Float[Array, "b h w c"]], Float[Array, ""]]

CHARBONNIER_EPS = 1e-3

PSNR_EPS = 1e-5
"""Added to each image's mean squared error: patches above 50 dB do not rule the others."""


def l1(output: Float[Array, "b h w c"], gt: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """Returns the mean absolute error of images in [0, 1]."""
    return jnp.mean(jnp.abs(output - gt))


def l2(output: Float[Array, "b h w c"], gt: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """Returns the mean squared error of images in [0, 1]."""
    return jnp.mean(jnp.square(output - gt))


def charbonnier(
    output: Float[Array, "b h w c"], gt: Float[Array, "b h w c"], *, eps: float = CHARBONNIER_EPS
) -> Float[Array, ""]:
    """Returns the mean of sqrt(d^2 + eps): an absolute error that is smooth at zero.

    Below sqrt(eps) (eight gray levels with the default) it behaves like a squared error, so that a
    model with a global skip leaves the identity, where the median correction is zero.
    """
    return jnp.mean(jnp.sqrt(jnp.square(output - gt) + eps))


def psnr(output: Float[Array, "b h w c"], gt: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """Returns minus the mean PSNR, in dB over all channels, of images in [0, 1].

    Each image counts by its relative error, so that a model for many qualities learns as much from
    mildly as from strongly compressed images. Source: NAFNet's training loss.
    """
    errors = jnp.mean(jnp.square(output - gt), axis=(1, 2, 3))
    return 10.0 * jnp.mean(jnp.log10(errors + PSNR_EPS))


LOSSES: dict[str, Callable[..., Float[Array, ""]]] = {
    "charbonnier": charbonnier,
    "l1": l1,
    "l2": l2,
    "psnr": psnr,
}


def make_loss(name: str, *, charbonnier_eps: float = CHARBONNIER_EPS) -> Loss:
    """Returns the loss of that name.

    Args:
        name: A key of `LOSSES`.
        charbonnier_eps: The eps of "charbonnier", in squared units of [0, 1]; must be positive.

    Raises:
        ValueError: The name is unknown, or eps is not positive.
    """
    if name not in LOSSES:
        raise ValueError(f"train.loss is {name!r}; choose one of {sorted(LOSSES)}")
    if name != "charbonnier":
        return LOSSES[name]
    if not charbonnier_eps > 0:
        raise ValueError(
            f"train.charbonnier_eps is {charbonnier_eps}; it must be positive, for example 1e-3"
        )
    return lambda output, gt: charbonnier(output, gt, eps=charbonnier_eps)
