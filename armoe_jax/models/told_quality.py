"""What a network that adapts to the coding quality is told, from what its user knows."""

from typing import TYPE_CHECKING

from armoe_jax.images.jpeg import log2_step_of_quality

if TYPE_CHECKING:
    from armoe_jax.models import AnyConfig


def told_quality(quality: float | int, config: "AnyConfig") -> float:
    """Returns the network's `quality` for a QP, or for a JPEG's quality.

    Args:
        quality: QP within the network's `quality_range`; for a network with an interval head
            libjpeg's quality, 1 to 100.
        config: The network's architecture.

    Raises:
        ValueError: If the network does not adapt to the quality, or does not know this one.
    """
    if not config.quality_range:
        raise ValueError(
            f"coding_quality is {quality}, but this network does not adapt to it (its "
            "quality_range is empty); leave it out"
        )
    if config.interval_head:
        if not 1 <= quality <= 100:
            raise ValueError(f"coding_quality is {quality}; a JPEG's is 1 to 100")
        return log2_step_of_quality(quality)
    low, high = sorted(config.quality_range)
    if not low <= quality <= high:
        raise ValueError(f"coding_quality is {quality}; this network knows {low:g} to {high:g}")
    return float(quality)
