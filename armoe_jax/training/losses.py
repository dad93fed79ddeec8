"""Training losses between a restored image and its original."""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from armoe_jax.ops.color import to_planes

Loss = Callable[[Float[Array, "b h w c"], Float[Array, "b h w c"]], Float[Array, ""]]

CHARBONNIER_EPS = 1e-3

PSNR_EPS = 1e-5
"""Added to each image's mean squared error: patches above 50 dB do not rule the others."""

RMSE_EPS = 1e-6
"""Added to each image's mean squared error (60 dB): the gradient stays finite at no error."""

COLORS = ("rgb", "ycbcr")

PLANE_WEIGHTS = (0.75, 0.125, 0.125)
"""Of Y, Cb and Cr. Source: the 6:1:1 weighted PSNR of JVET's and HM's common test conditions."""


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


def rmse(output: Float[Array, "b h w c"], gt: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """Returns the mean over images of their root mean squared error, of images in [0, 1].

    Between two extremes for a model of many qualities: "l2" learns from strongly compressed images
    and may harm the others, "psnr" learns little but to leave the mildly compressed alone.
    """
    errors = jnp.mean(jnp.square(output - gt), axis=(1, 2, 3))
    return jnp.mean(jnp.sqrt(errors + RMSE_EPS))


LOSSES: dict[str, Callable[..., Float[Array, ""]]] = {
    "charbonnier": charbonnier,
    "l1": l1,
    "l2": l2,
    "psnr": psnr,
    "rmse": rmse,
}


def make_loss(name: str, *, charbonnier_eps: float = CHARBONNIER_EPS, colors: str = "rgb") -> Loss:
    """Returns the loss of that name.

    Args:
        name: A key of `LOSSES`.
        charbonnier_eps: The eps of "charbonnier", in squared units of [0, 1]; must be positive.
        colors: "rgb": channels count alike. "ycbcr": the losses of luma and chroma planes (BT.601)
            are added with `PLANE_WEIGHTS`; where chroma is subsampled, its error otherwise rules.

    Raises:
        ValueError: The name or the colours are unknown, or eps is not positive.
    """
    if name not in LOSSES:
        raise ValueError(f"train.loss is {name!r}; choose one of {sorted(LOSSES)}")
    if colors not in COLORS:
        raise ValueError(f"train.loss_colors is {colors!r}; choose one of {COLORS}")
    loss = LOSSES[name]
    if name == "charbonnier":
        if not charbonnier_eps > 0:
            raise ValueError(
                f"train.charbonnier_eps is {charbonnier_eps}; it must be positive, for example 1e-3"
            )
        loss = functools.partial(charbonnier, eps=charbonnier_eps)
    return loss if colors == "rgb" else _over_planes(loss)


def _over_planes(loss: Loss) -> Loss:
    def weighted(output: Float[Array, "b h w c"], gt: Float[Array, "b h w c"]) -> Float[Array, ""]:
        if output.shape[-1] != 3:
            raise ValueError(
                "train.loss_colors='ycbcr' needs RGB images, these have "
                f"{output.shape[-1]} channels; use 'rgb'"
            )
        pairs = zip(*(jnp.split(to_planes(x), 3, axis=-1) for x in (output, gt)), strict=True)
        losses = [weight * loss(*pair) for weight, pair in zip(PLANE_WEIGHTS, pairs, strict=True)]
        return sum(losses, start=jnp.zeros(()))

    return weighted
