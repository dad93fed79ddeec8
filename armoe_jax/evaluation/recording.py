"""Restoring images with a record of the experts they were sent to."""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from armoe_jax.evaluation.pairs import Restored
from armoe_jax.evaluation.windowed import most_taken
from armoe_jax.images.jpeg import JpegCoding
from armoe_jax.restore import Restorer
from armoe_jax.restore.canvas import from_unit, to_unit


def recording_experts(
    restorer: Restorer,
) -> Callable[..., Restored]:
    """Returns a function that restores images, whole, and tells the choice of experts.

    Where windows choose, it tells the expert that most of them took.

    Raises:
        ValueError: If the network has no experts; the function, if an image has other channels
            than the network.
    """
    config = restorer.config
    if not config.experts:
        raise ValueError("the network has no experts whose use could be recorded")

    def restore(image: UInt8[np.ndarray, "h w c"], *, coding: JpegCoding | None = None) -> Restored:
        if image.shape[2] != config.in_chans:
            raise ValueError(
                f"the image has {image.shape[2]} channels, the network {config.in_chans}; the use "
                "of experts is recorded for images of the network's own kind only"
            )
        steps = None
        if coding is not None and coding.offset == (0, 0):
            steps = coding.luma_table.reshape(1, -1).astype(np.float32)
        y, routing = restorer.apply(to_unit(image)[None], return_routing=True, steps=steps)
        expert = most_taken(np.asarray(routing.expert), len(config.experts))[:, 0]
        return Restored(from_unit(np.asarray(y)[0], image.dtype), tuple(expert.tolist()))

    return restore
