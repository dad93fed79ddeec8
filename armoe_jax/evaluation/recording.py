"""A restorer that remembers how long each image took, and which experts it was sent to."""

import statistics
import time
from typing import Any

import numpy as np
from jaxtyping import UInt8

from armoe_jax.restore import Restorer
from armoe_jax.restore.canvas import from_unit, to_unit


class RecordingRestorer:
    """Restores images like `Restorer` and keeps a record.

    Args:
        restorer: What restores.
        experts: Whether to record the choice of experts. Images then go through the network whole,
            and need as many channels as it has.
    """

    def __init__(self, restorer: Restorer, *, experts: bool = False):
        if experts and not restorer.config.experts:
            raise ValueError("the network has no experts whose use could be recorded")
        self._restorer, self._with_experts = restorer, experts
        self._choices: list[list[int]] = []
        self._seconds: list[float] = []

    def __call__(self, image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "hs ws c"]:
        """Returns the restored image."""
        start = time.perf_counter()
        restored = self._whole(image) if self._with_experts else self._restorer(image)
        self._seconds.append(time.perf_counter() - start)
        return restored

    def add_to(self, report: dict[str, Any]) -> None:
        """Adds the record of all images so far to the report of `evaluate_pairs` about them.

        Args:
            report: Gets `seconds_per_image`, the median (the first image of a size includes
                compilation); with `experts` also `expert_names`, and each of its `images` an
                `expert`: the index of the chosen expert in every layer.
        """
        report["seconds_per_image"] = statistics.median(self._seconds)
        if self._with_experts:
            report["expert_names"] = list(self._restorer.config.experts)
            for image, choice in zip(report["images"], self._choices, strict=True):
                image["expert"] = choice

    def _whole(self, image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "hs ws c"]:
        channels = self._restorer.config.in_chans
        if image.shape[2] != channels:
            raise ValueError(
                f"the image has {image.shape[2]} channels, the network {channels}; the use of "
                "experts is recorded for images of the network's own kind only"
            )
        y, routing = self._restorer.apply(to_unit(image)[None], return_routing=True)
        self._choices.append(np.asarray(routing.expert)[:, 0].tolist())
        return from_unit(np.asarray(y)[0], image.dtype)
