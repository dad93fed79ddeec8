"""The architecture of a network whose mixture chooses experts window by window."""

import dataclasses
import itertools
from typing import Any

from armoe_jax.experts import FRAMES
from armoe_jax.models.config import MAX_WIDTH
from armoe_jax.models.fields import from_mapping, require, to_plain
from armoe_jax.models.quality_estimator import ESTIMATORS

ROUTES = ("window", "image")

MAX_PAIRS = 256
"""Most residual pairs of all blocks together; the large network has 8."""

MAX_SPECIALISTS = 8


@dataclasses.dataclass(frozen=True)
class ARMoEWConfig:
    """Constructor arguments of `ARMoEW`.

    Attributes:
        mixture: "windowed": tells this record from an `ARMoEConfig` where both are read.
        in_chans: Image channels, 3 (RGB) or 1 (gray).
        embed_dim: Feature channels C.
        depth: Blocks; each has `pairs` residual pairs of convolutions, then a mixture.
        pairs: Residual pairs of 3x3 convolutions of a block.
        stride: Pixels, along each side, that become one position: features are at full resolution
            (1) or at half (2).
        experts: Experts to choose from; () leaves the mixtures out.
        expert_dim: Channels between an expert's two mixings.
        share_mixings: Whether an expert's bands of about one frequency (a shell of its frame) share
            their mixings; otherwise each band has its own, an eightfold of parameters.
        adapt_experts: Whether thresholds and gains of the experts' bands follow the coding quality;
            needs `quality_range`.
        window: Side of the mixture's windows in positions, a power of two.
        route: Whether each window chooses its expert, or each image.
        quality_range: Mildest and strongest coding that the network tells apart, such as QPs
            (17, 42); for JPEG the log2 of the mean luma step, (0, 8). () for none.
        quality_estimator: How it is estimated from pixels: "mean", from the luma's coefficients
            alone, or "attention", from luma and chroma together, of the places that tell most.
        interval_head: Whether the last layer corrects the luma's DCT coefficients knowing the
            quantiser steps of the JPEG file; needs `quality_range`.
        specialists: Qualities at which another set of weights takes over: (28,) has one up to QP
            28 and one beyond, and an image costs as much as with one set. () for one; needs
            `quality_range` and no experts.
        grid: Period in pixels of learnt offsets that tell positions on the coding grid apart, a
            power of two such as 16; 0 for none.
    """

    mixture: str = "windowed"
    in_chans: int = 3
    embed_dim: int = 32
    depth: int = 4
    pairs: int = 2
    stride: int = 1
    experts: tuple[str, ...] = ("dct", "fft", "haar", "swt")
    expert_dim: int = 32
    share_mixings: bool = False
    adapt_experts: bool = False
    window: int = 8
    route: str = "window"
    quality_range: tuple[float, ...] = ()
    quality_estimator: str = "mean"
    interval_head: bool = False
    specialists: tuple[float, ...] = ()
    grid: int = 0

    def __post_init__(self):
        for name in ("experts", "quality_range", "specialists"):
            value = getattr(self, name)
            if isinstance(value, (str, int)) or not hasattr(value, "__iter__"):
                raise ValueError(f"{name}={value!r} must be a sequence, such as ('dct',)")
            object.__setattr__(self, name, tuple(value))
        _check(self)

    @property
    def scale(self) -> int:
        """Output size divided by input size."""
        return 1

    @property
    def num_layers(self) -> int:
        """Mixtures; each has a gate of its own."""
        return self.depth

    @property
    def equal_groups(self) -> bool:
        """Whether groups of blocks have the same parameters: there is one group."""
        return True

    @property
    def has_batch_statistics(self) -> bool:
        """Whether the network normalises over a batch: its gates do not."""
        return False

    @property
    def alignment(self) -> int:
        """Sides of inputs and corners of tiles must be multiples of this many pixels."""
        return max(self.window * self.stride, self.grid, 8 if self.interval_head else 1)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values that JSON can hold; `from_dict` reads them back."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: Any) -> "ARMoEWConfig":
        """Makes a config from a mapping of field names, such as one read from JSON.

        Raises:
            ValueError: A field is unknown or has a value that is not allowed.
        """
        return from_mapping(cls, values)


def _check(c: ARMoEWConfig) -> None:
    require(c.mixture == "windowed", "mixture", c.mixture, "'windowed'")
    require(c.in_chans in (1, 3), "in_chans", c.in_chans, "1 or 3")
    for name, most in (
        *(("embed_dim", MAX_WIDTH), ("expert_dim", MAX_WIDTH)),
        *(("depth", MAX_PAIRS), ("pairs", MAX_PAIRS)),
    ):
        require(1 <= getattr(c, name) <= most, name, getattr(c, name), f"1 to {most}")
    together = f"at most {MAX_PAIRS} in all {c.depth} blocks together"
    require(c.depth * c.pairs <= MAX_PAIRS, "pairs", c.pairs, together)
    require(c.stride in (1, 2), "stride", c.stride, "1 or 2")
    powers = (2, 4, 8, 16, 32)
    require(c.window in powers, "window", c.window, f"one of {powers}")
    require(c.route in ROUTES, "route", c.route, f"one of {ROUTES}")
    unknown = [name for name in c.experts if name not in FRAMES]
    require(not unknown, "experts", c.experts, f"names out of {tuple(FRAMES)}")
    require(len(set(c.experts)) == len(c.experts), "experts", c.experts, "each name once")
    ends = c.quality_range
    allowed = "empty, or two qualities: of the mildest and of the strongest coding"
    require(not ends or (len(ends) == 2 and ends[0] != ends[1]), "quality_range", ends, allowed)
    kind, kinds = c.quality_estimator, tuple(ESTIMATORS)
    require(kind in kinds, "quality_estimator", kind, f"one of {kinds}")
    allowed = "'mean' without a quality_range to estimate"
    require(kind == "mean" or len(ends) == 2, "quality_estimator", kind, allowed)
    require(
        not c.interval_head or len(ends) == 2,
        "interval_head",
        c.interval_head,
        "False without a quality_range: the head depends on the steps",
    )
    require(
        not c.adapt_experts or len(ends) == 2,
        "adapt_experts",
        c.adapt_experts,
        "False without a quality_range to follow",
    )
    _check_specialists(c)
    # Tiles start at multiples of the largest of these; powers of two nest, so that all meet there.
    grids = (0, *powers, 64)
    require(c.grid in grids, "grid", c.grid, f"one of {grids}")


def _check_specialists(c: ARMoEWConfig) -> None:
    bounds = c.specialists
    if not bounds:
        return
    require(len(c.quality_range) == 2, "specialists", bounds, "() without a quality_range")
    require(not c.experts, "specialists", bounds, "() in a network with experts")
    mild, strong = sorted(c.quality_range)
    rising = all(a < b for a, b in itertools.pairwise((mild, *bounds, strong)))
    allowed = f"at most {MAX_SPECIALISTS - 1} rising qualities between {mild:g} and {strong:g}"
    require(rising and len(bounds) < MAX_SPECIALISTS, "specialists", bounds, allowed)
