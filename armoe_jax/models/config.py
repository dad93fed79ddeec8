"""The architecture of one network, as a frozen record that is checked when it is made."""

import dataclasses
import math
from typing import Any

from armoe_jax.experts import EXPERTS
from armoe_jax.models.fields import from_mapping, is_number, require, to_plain

UPSAMPLERS = ("icar", "lightSR", "")
RESIDUAL_FORMS = ("1conv", "3conv")
_FLOAT_FIELDS = ("mlp_ratio", "qk_scale", "drop_rate", "attn_drop_rate", "img_range")

MAX_WIDTH = 2**16
"""Largest embed_dim and upscale."""

MAX_BLOCKS = 1000
"""Most blocks of all groups together; the full network has 36."""

MAX_WINDOW_TOKENS = 4096
"""Largest window, in pixels; tables of all its pairs are made. The published ones have 256."""


@dataclasses.dataclass(frozen=True)
class ARMoEConfig:
    """Constructor arguments of the released network, with its names and defaults.

    Source: architecture.md section 1. `experts`, `global_skip` (section 12) and `quality_range` are
    additions.

    Attributes:
        mixture: "released": tells this record from an `ARMoEWConfig` where both are read.
        in_chans: Image channels, 3 (RGB) or 1 (gray).
        embed_dim: Feature channels C; even.
        depth: Blocks of each group.
        num_heads: Attention heads of each group, half of them for each window orientation.
        mlp_ratio: Hidden width of the feed-forward layers relative to embed_dim.
        qkv_bias: Whether the projection to queries, keys and values has a bias.
        qk_scale: Factor of the attention logits; None (or 0) for head_dim ** -0.5.
        drop_rate: Dropout after the attention's output projection.
        attn_drop_rate: Dropout on attention probabilities.
        upscale: Factor of the lightSR tail; without effect for icar.
        img_range: Pixel values are multiplied by it inside the network.
        upsampler: Tail: "icar" (same size), "lightSR" (pixel shuffle), or "" (released quirk: no
            tail, the input comes back).
        resi_connection: Convolutions that close a group, "1conv" or "3conv".
        split_size: Window height and width; the other half of the heads swaps them.
        experts: Experts to choose from; () replaces the mixture by its input.
        global_skip: Adds the input (upscaled if need be) to the output, so that an untrained
            network is the identity. Differs: the released networks have no such skip.
        quality_range: Mildest and strongest coding, such as QPs (17, 42) or JPEG qualities
            (90, 10), of a network that estimates an image's and adapts to it; () for none, as
            released.
    """

    in_chans: int = 3
    embed_dim: int = 180
    depth: tuple[int, ...] = (2, 2, 2, 2)
    num_heads: tuple[int, ...] = (2, 2, 2, 2)
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    qk_scale: float | None = None
    drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    upscale: int = 2
    img_range: float = 1.0
    upsampler: str = "icar"
    resi_connection: str = "1conv"
    split_size: tuple[int, int] = (8, 8)
    experts: tuple[str, ...] = ("dct", "fft", "haar", "swt")
    global_skip: bool = False
    quality_range: tuple[float, ...] = ()
    mixture: str = "released"

    def __post_init__(self):
        for name in ("depth", "num_heads", "split_size", "experts", "quality_range"):
            value = getattr(self, name)
            if isinstance(value, (str, int)) or not hasattr(value, "__iter__"):
                raise ValueError(f"{name}={value!r} must be a sequence, such as (2, 2)")
            object.__setattr__(self, name, tuple(value))
        for name in ("mlp_ratio", "drop_rate", "attn_drop_rate", "img_range"):
            object.__setattr__(self, name, float(getattr(self, name)))
        _check(self)

    @property
    def scale(self) -> int:
        """Output size divided by input size."""
        return self.upscale if self.upsampler == "lightSR" else 1

    @property
    def quality_estimator(self) -> str:
        """How a network with a `quality_range` estimates it, as in an `ARMoEWConfig`."""
        return "mean"

    @property
    def interval_head(self) -> bool:
        """Whether the network knows of JPEG's quantisation; see `ARMoEWConfig`."""
        return False

    @property
    def alignment(self) -> int:
        """Corners of tiles must be multiples of this many pixels."""
        return 1

    @property
    def num_layers(self) -> int:
        """Blocks over all groups; each has a gate of its own."""
        return sum(self.depth)

    @property
    def equal_groups(self) -> bool:
        """Whether all groups have the same parameters."""
        return len(set(zip(self.depth, self.num_heads, strict=True))) == 1

    @property
    def has_batch_statistics(self) -> bool:
        """Whether the network normalises over a batch, as its gates do."""
        return bool(self.experts)

    @property
    def hidden_dim(self) -> int:
        """Hidden width of the feed-forward layers."""
        return int(self.embed_dim * self.mlp_ratio)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values that JSON can hold; `from_dict` reads them back."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: Any) -> "ARMoEConfig":
        """Makes a config from a mapping of field names, such as one read from JSON.

        Raises:
            ValueError: A field is unknown or has a value that is not allowed.
        """
        return from_mapping(cls, values)


def _check(config: ARMoEConfig) -> None:
    c = config
    require(c.mixture == "released", "mixture", c.mixture, "'released'")
    for name in _FLOAT_FIELDS:
        value = getattr(c, name)
        require(value is None or is_number(value), name, value, "a finite number")
    require(c.in_chans in (1, 3), "in_chans", c.in_chans, "1 or 3")
    require(
        2 <= c.embed_dim <= MAX_WIDTH and c.embed_dim % 2 == 0,
        "embed_dim",
        c.embed_dim,
        f"even, 2 to {MAX_WIDTH}",
    )
    require(len(c.depth) > 0 and min(c.depth) > 0, "depth", c.depth, "at least one block a group")
    require(sum(c.depth) <= MAX_BLOCKS, "depth", c.depth, f"at most {MAX_BLOCKS} blocks together")
    require(
        len(c.num_heads) == len(c.depth), "num_heads", c.num_heads, f"one a group ({len(c.depth)})"
    )
    half = c.embed_dim // 2
    for heads in c.num_heads:
        allowed = f"2 or more, with {half} (half of embed_dim) divisible by half of it"
        require(heads >= 2 and half % (heads // 2) == 0, "num_heads", heads, allowed)
    require(
        c.hidden_dim >= 2 and c.hidden_dim % 2 == 0,
        "mlp_ratio",
        c.mlp_ratio,
        f"int({c.embed_dim} * mlp_ratio) even and positive",
    )
    require(c.upsampler in UPSAMPLERS, "upsampler", c.upsampler, f"one of {UPSAMPLERS}")
    require(
        c.resi_connection in RESIDUAL_FORMS,
        "resi_connection",
        c.resi_connection,
        f"one of {RESIDUAL_FORMS}",
    )
    if c.resi_connection == "3conv":
        require(c.embed_dim >= 4, "embed_dim", c.embed_dim, "4 or more with '3conv'")
    require(1 <= c.upscale <= MAX_WIDTH, "upscale", c.upscale, f"1 to {MAX_WIDTH}")
    require(c.img_range > 0, "img_range", c.img_range, "positive")
    require(
        len(c.split_size) == 2 and min(c.split_size) > 0,
        "split_size",
        c.split_size,
        "window height and width, both positive",
    )
    require(
        math.prod(c.split_size) <= MAX_WINDOW_TOKENS,
        "split_size",
        c.split_size,
        f"a window of at most {MAX_WINDOW_TOKENS} pixels",
    )
    for name in ("drop_rate", "attn_drop_rate"):
        value = getattr(c, name)
        require(0 <= value < 1, name, value, "in [0, 1)")
    ends = c.quality_range
    require(
        not ends or (len(ends) == 2 and ends[0] != ends[1] and all(map(math.isfinite, ends))),
        "quality_range",
        ends,
        "empty, or two finite qualities: of the mildest and of the strongest coding",
    )
    unknown = [name for name in c.experts if name not in EXPERTS]
    require(not unknown, "experts", c.experts, f"names out of {tuple(EXPERTS)}")
    require(len(set(c.experts)) == len(c.experts), "experts", c.experts, "each name once")
