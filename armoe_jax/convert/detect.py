"""The architecture of a network, read off the names and shapes of its state dict."""

import re
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from armoe_jax.convert.armoe_rules import RELEASED_EXPERTS
from armoe_jax.models.config import ARMoEConfig

MAX_SIZE = 2**16
"""Largest axis of a weight: shapes may declare more than a file holds."""

_BLOCK = re.compile(r"layers\.(\d{1,5})\.blocks\.(\d{1,5})\.")


def detect_config(tensors: Mapping[str, np.ndarray], **given: Any) -> ARMoEConfig:
    """Returns the architecture that a state dict belongs to.

    Names and shapes show everything except `img_range`, `qk_scale`, `global_skip` and the drop
    rates (released defaults), which experts there are unless they are the released four, and the
    window where neither `rpe_biases` nor `relative_position_index` is present. An odd number of
    heads cannot be told from the even number below it, which computes the same.

    Args:
        tensors: State dict with released names.
        **given: Fields of `ARMoEConfig` that are known; they take the place of what is detected.

    Raises:
        ValueError: Names do not belong to an ARMoE, a given field contradicts the tensors, or a
            field can neither be detected nor is given; the message names the keyword.
        TypeError: A keyword is no field of `ARMoEConfig`.
    """
    _check_given(given)
    if "conv_first.weight" not in tensors:
        raise ValueError(
            f"no ARMoE state dict: no tensor 'conv_first.weight' among {sorted(tensors)[:5]} ..."
        )
    embed_dim, in_chans = _dims(tensors, "conv_first.weight", 4)[:2]
    depth = _depth(tensors)
    seen: dict[str, Any] = {
        "in_chans": in_chans,
        "embed_dim": embed_dim,
        "depth": depth,
        "num_heads": tuple(_num_heads(tensors, group) for group in range(len(depth))),
        "mlp_ratio": _mlp_ratio(tensors, embed_dim),
        "qkv_bias": "layers.0.blocks.0.attn.qkv.bias" in tensors,
        "resi_connection": "3conv" if "layers.0.conv.0.weight" in tensors else "1conv",
        **_tail(tensors, in_chans),
        **_split_size(tensors),
    }
    check_contradictions(seen, given)
    if "split_size" not in seen | given:
        raise ValueError(
            "cannot detect split_size, as the state dict has neither rpe_biases nor "
            "relative_position_index; give the keyword split_size, such as split_size=(8, 32)"
        )
    if "experts" not in given:
        seen["experts"] = _experts(tensors)
    return ARMoEConfig.from_dict({**seen, **given})


def _check_given(given: Mapping[str, Any]) -> None:
    allowed = list(ARMoEConfig.__dataclass_fields__)
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        raise TypeError(f"unknown architecture keywords {unknown}; allowed are {allowed}")


def _dims(tensors: Mapping[str, np.ndarray], name: str, ndim: int) -> tuple[int, ...]:
    if name not in tensors:
        raise ValueError(f"cannot detect the architecture: the tensor {name} is missing")
    shape = tensors[name].shape
    if len(shape) != ndim or not all(1 <= size <= MAX_SIZE for size in shape):
        raise ValueError(
            f"cannot detect the architecture: {name} has shape {shape}; {ndim} axes of 1 to "
            f"{MAX_SIZE} are needed"
        )
    return shape


def _depth(tensors: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Counts blocks; gaps in the numbering show up later, as missing names."""
    last: dict[int, int] = {}
    for name in tensors:
        if match := _BLOCK.match(name):
            group, block = int(match[1]), int(match[2])
            last[group] = max(last.get(group, 0), block)
    if sorted(last) != list(range(len(last))) or not last:
        raise ValueError(
            f"cannot detect the architecture: groups {sorted(last)} of 'layers.GROUP.blocks.' do "
            "not count up from 0"
        )
    return tuple(last[group] + 1 for group in range(len(last)))


def _num_heads(tensors: Mapping[str, np.ndarray], group: int) -> int:
    # The position bias has one output a head, for the half of the heads in each branch.
    name = f"layers.{group}.blocks.0.attn.attns.0.pos.pos3.2.bias"
    return 2 * _dims(tensors, name, 1)[0]


def _mlp_ratio(tensors: Mapping[str, np.ndarray], embed_dim: int) -> float:
    return simplest_ratio(_dims(tensors, "layers.0.blocks.0.ffn1.fc1.bias", 1)[0], embed_dim)


def simplest_ratio(hidden: int, embed_dim: int) -> float:
    """Returns the fraction r of smallest denominator with int(embed_dim * r) == hidden."""
    for denominator in range(1, embed_dim + 1):
        numerator = -(-hidden * denominator // embed_dim)
        ratio = numerator / denominator
        if int(embed_dim * ratio) == hidden:
            return ratio
    # Rounding made every candidate fall short by one.
    return float(np.nextafter(hidden / embed_dim, np.inf))


def _tail(tensors: Mapping[str, np.ndarray], in_chans: int) -> dict[str, Any]:
    if "upsample.0.weight" in tensors:
        rows = _dims(tensors, "upsample.0.weight", 4)[0]
        upscale = round((rows / in_chans) ** 0.5)
        if in_chans * upscale**2 != rows:
            raise ValueError(
                f"cannot detect upscale: upsample.0.weight has {rows} outputs, which are not "
                f"{in_chans} channels times a square"
            )
        return {"upsampler": "lightSR", "upscale": upscale}
    return {"upsampler": "icar" if "conv_last.weight" in tensors else "", "upscale": 1}


def _experts(tensors: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    moe = "layers.0.blocks.0.moe"
    gate = f"{moe}.policy.net.6.bias"
    if gate not in tensors:
        return ()
    count = _dims(tensors, gate, 1)[0]
    if count == len(RELEASED_EXPERTS) and f"{moe}.swt.fusion.weight" in tensors:
        return RELEASED_EXPERTS
    raise ValueError(
        f"cannot detect which {count} experts there are, as they are not the released four; give "
        "the keyword experts, such as experts=('dct', 'fft')"
    )


def _split_size(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the window of branch 0, if there is a buffer that shows it."""
    branch = "layers.0.blocks.0.attn.attns.0"
    if f"{branch}.rpe_biases" in tensors:
        return {"split_size": _window_of_offsets(tensors[f"{branch}.rpe_biases"])}
    if f"{branch}.relative_position_index" in tensors:
        window = _window_of_index(tensors[f"{branch}.relative_position_index"])
        return {"split_size": window} if window else {}
    return {}


def _window_of_offsets(table: np.ndarray) -> tuple[int, int]:
    if table.ndim == 2 and table.shape[1] == 2 and len(table) > 0 and np.isfinite(table[0]).all():
        # The first row is the smallest offset, (1 - height, 1 - width).
        height, width = (int(1 - offset) for offset in table[0])
        if height > 0 and width > 0 and (2 * height - 1) * (2 * width - 1) == len(table):
            return height, width
    raise ValueError("cannot detect split_size: rpe_biases is no table of offsets")


def _window_of_index(index: np.ndarray) -> tuple[int, int] | None:
    """Returns the window; None where it is one pixel high or wide, as both look the same."""
    # From query 0 the index falls by 1 a key along the first row, and jumps at the next row.
    num_tokens = index.shape[0] if index.ndim else 0
    if index.shape != (num_tokens, num_tokens) or num_tokens == 0:
        raise ValueError(f"cannot detect split_size: an index table has shape {index.shape}")
    row: list[int] = index[0].tolist()
    width = next((j for j, value in enumerate(row) if value != row[0] - j), num_tokens)
    if width == num_tokens:
        return None
    if num_tokens % width:
        raise ValueError("cannot detect split_size: relative_position_index is no index table")
    return num_tokens // width, width


def check_contradictions(seen: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Compares given fields with detected ones, as far as the tensors depend on them.

    Raises:
        ValueError: Some differ; the message shows both.
    """
    contradictions = [
        f"{field}={given[field]!r} (the tensors show {value!r})"
        for field, value in seen.items()
        if field in given and not _agree(field, given[field], value, seen)
    ]
    if contradictions:
        raise ValueError(f"keywords contradict the state dict: {', '.join(contradictions)}")


def _agree(field: str, given: Any, detected: Any, seen: Mapping[str, Any]) -> bool:
    if field == "mlp_ratio":
        return int(seen["embed_dim"] * given) == int(seen["embed_dim"] * detected)
    if field == "upscale" and seen["upsampler"] != "lightSR":
        return True
    if not isinstance(given, (tuple, list)):
        return given == detected
    values = list(cast(list[Any], given))
    if field == "experts":
        return sorted(values) == sorted(detected)  # names do not show their order
    if field == "num_heads":
        return [heads // 2 for heads in values] == [heads // 2 for heads in seen[field]]
    return values == list(detected)
