"""Networks with a windowed mixture: names are paths, no axis is moved, shapes show most fields."""

import functools
import re
from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from armoe_jax.convert.detect import check_contradictions
from armoe_jax.convert.rules import Rule, Weight
from armoe_jax.experts import FRAMES
from armoe_jax.models.build import build_model
from armoe_jax.models.windowed_config import ARMoEWConfig

FIRST = "conv_first.kernel"
"""A tensor that all of these networks have, and no released one; specialists have one each."""

SPECIALIST = "specialist_0."
"""What its tensors' names begin with, in networks of several."""

_BLOCK = re.compile(r"group_0\.block_(\d{1,5})\.(?:pair_(\d{1,5})\.|moe\.)")

LARGEST = 65_536
"""Largest axis of a weight: shapes may declare more than a file holds."""


def is_windowed(tensors: Mapping[str, np.ndarray]) -> bool:
    """Tells whether a state dict is that of such a network."""
    return FIRST in tensors or SPECIALIST + FIRST in tensors


@functools.cache
def windowed_rules(config: ARMoEWConfig) -> tuple[Rule, ...]:
    """Returns a rule for every tensor of a network, in the order of its variables."""
    image = jax.ShapeDtypeStruct((1, 8, 8, config.in_chans), jnp.float32)
    model = cast(Any, build_model(config))
    variables = cast(Any, jax).eval_shape(model.init, jax.random.key(0), image)
    flat = cast(dict[str, Any], cast(Any, traverse_util).flatten_dict(dict(variables), sep="/"))
    rules: list[Rule] = []
    for path, leaf in flat.items():
        name = path.partition("/")[2].replace("/", ".")
        rules.append(Weight(name, tuple(leaf.shape), path, tuple(range(leaf.ndim))))
    return tuple(rules)


def detect_windowed(tensors: Mapping[str, np.ndarray], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields that names and shapes show; given ones must not contradict them.

    They do not show `route`, the order of the experts (that of FRAMES is assumed), `share_mixings`
    where "swt" is alone, which then changes nothing, and the values of `quality_range` and of
    `specialists`, which must be given for networks that have them.

    Raises:
        ValueError: A tensor is missing or misshapen, a given field contradicts the tensors, or
            `quality_range`, `specialists` or `window` can neither be seen nor is given.
    """
    if SPECIALIST + FIRST in tensors:
        tensors = _of_one_specialist(tensors, given)
    _, _, pixels, embed_dim = _shape(tensors, FIRST, 4)
    if pixels not in (1, 3, 4, 12):
        raise ValueError(f"{FIRST} has {pixels} input channels; 1, 3, 4 or 12 are known")
    stride = 1 if pixels in (1, 3) else 2
    members = [match for name in tensors if (match := _BLOCK.match(name))]
    blocks = sorted({int(match[1]) for match in members})
    if not blocks or blocks != list(range(len(blocks))):
        raise ValueError(
            f"cannot detect the architecture: blocks {blocks[:5]} of 'group_0.block_' do not count "
            "up from 0"
        )
    seen: dict[str, Any] = {
        "mixture": "windowed",
        "in_chans": pixels // stride**2,
        "embed_dim": embed_dim,
        "stride": stride,
        "depth": len(blocks),
        "pairs": 1 + max((int(match[2]) for match in members if match[2]), default=0),
        "quality_estimator": "attention" if "quality.votes.kernel" in tensors else "mean",
        "interval_head": "head.weights" in tensors,
        "grid": _shape(tensors, "grid", 4)[1] * stride if "grid" in tensors else 0,
        **_mixture(tensors),
    }
    check_contradictions(seen, given)
    if seen["experts"] and "window" not in seen | dict(given):
        raise ValueError("cannot detect window: give the keyword window, such as window=8")
    if "group_0.block_0.pair_0.modulation.table" in tensors and "quality_range" not in given:
        raise ValueError(
            "cannot detect quality_range: give it, such as quality_range=(0, 8) for JPEG"
        )
    return seen


def _of_one_specialist(
    tensors: Mapping[str, np.ndarray], given: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Returns the tensors under the names that they would have if there were no other."""
    number = sum(name.startswith("specialist_") and name.endswith(f".{FIRST}") for name in tensors)
    if len(given.get("specialists", ())) != number - 1:
        raise ValueError(
            f"cannot detect specialists: give the {number - 1} qualities at which another of the "
            f"{number} takes over, such as specialists=(28,) for two"
        )
    return {name.removeprefix(SPECIALIST): tensor for name, tensor in tensors.items()}


def _mixture(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    prefix = "group_0.block_0.moe"
    experts = tuple(name for name in FRAMES if f"{prefix}.{name}.mix_in" in tensors)
    fields: dict[str, Any] = {"experts": experts}
    for name in experts:
        mixings, _, _ = _shape(tensors, f"{prefix}.{name}.mix_in", 3)
        bands, fields["expert_dim"] = _shape(tensors, f"{prefix}.{name}.threshold", 2)
        fields["adapt_experts"] = f"{prefix}.{name}.threshold_slope" in tensors
        if name != "swt":  # a separable transform has a band for each pixel of the window
            fields["window"] = round(bands**0.5)
            fields["share_mixings"] = mixings < bands
    return fields


def _shape(tensors: Mapping[str, np.ndarray], name: str, ndim: int) -> tuple[int, ...]:
    if name not in tensors:
        raise ValueError(f"cannot detect the architecture: the tensor {name} is missing")
    shape = tensors[name].shape
    if len(shape) != ndim or not all(1 <= size <= LARGEST for size in shape):
        raise ValueError(
            f"cannot detect the architecture: {name} has shape {shape}; {ndim} axes of 1 to "
            f"{LARGEST} are needed"
        )
    return shape
