"""The table between the released network's state dict and this project's variables.

One line a layer, in the state dict's order: released name, name here, sizes. Kernels are stored
as height, width, in, out here, and as out, in, height, width there; matrices as (in, out) here,
(out, in) there. Source: architecture.md section 7.
"""

import functools
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from armoe_jax.convert import buffers
from armoe_jax.convert.rules import Constant, Counter, Rule, Weight
from armoe_jax.models.blocks import has_shifted_windows, shift_schedule
from armoe_jax.models.config import ARMoEConfig
from armoe_jax.models.quality import KNOTS
from armoe_jax.models.quality_estimator import BLOCK, WIDTH
from armoe_jax.models.routing import HIDDEN

RELEASED_EXPERTS = ("dct", "fft", "haar", "swt")

_VECTOR = (0,)
_MATRIX = (1, 0)
_KERNEL = (2, 3, 1, 0)
_TAIL_WIDTH = 64


def armoe_rules(config: ARMoEConfig) -> tuple[Rule, ...]:
    """Returns the rules for every tensor of a network, in the released state dict's order."""
    c = config.embed_dim
    return (
        *_conv("conv_first", "conv_first", config.in_chans, c),
        *_norm("before_RG.1", "embed_norm", c),
        *(rule for group in range(len(config.depth)) for rule in _group(config, group)),
        *_norm("norm", "norm", c),
        *_residual_conv("conv_after_body", "conv_after_body", config),
        *_tail(config),
        *_quality(config),
    )


def pth_obstacles(config: ARMoEConfig) -> list[str]:
    """Lists what keeps a network from being one that the released code can build."""
    obstacles: list[str] = []
    if config.global_skip:
        obstacles.append("global_skip=True")
    if config.quality_range:
        obstacles.append(f"quality_range={config.quality_range}")
    if config.experts != RELEASED_EXPERTS:
        obstacles.append(f"experts={config.experts} (released: {RELEASED_EXPERTS})")
    side = buffers.MASK_IMAGE_SIZE
    any_shifted = any(itertools.chain(*shift_schedule(config)))
    if any_shifted and any(side % s for s in config.split_size):
        obstacles.append(
            f"split_size={config.split_size} with shifted windows (must divide {side})"
        )
    return obstacles


def _group(config: ARMoEConfig, group: int) -> Iterator[Rule]:
    for block in range(config.depth[group]):
        name, path = f"layers.{group}.blocks.{block}", f"group_{group}/block_{block}"
        yield from _block(config, group, block, name, path)
    yield from _residual_conv(f"layers.{group}.conv", f"group_{group}/conv", config)


def _block(config: ARMoEConfig, group: int, block: int, name: str, path: str) -> Iterator[Rule]:
    c = config.embed_dim
    for gamma in ("gamma1", "gamma2"):
        yield _param(f"{name}.{gamma}", (c,), f"{path}/{gamma}", _VECTOR)
    for norm in ("norm1", "norm2", "norm3", "norm4"):
        yield from _norm(f"{name}.{norm}", f"{path}/{norm}", c)
    shifted = has_shifted_windows(group, block)
    heads = config.num_heads[group] // 2
    yield from _attention(config, f"{name}.attn", f"{path}/attn", heads, shifted)
    yield from _moe(config, f"{name}.moe", f"{path}/moe")
    for ffn in ("ffn1", "ffn2"):
        yield from _ffn(f"{name}.{ffn}", f"{path}/{ffn}", c, config.hidden_dim)


def _attention(
    config: ARMoEConfig, name: str, path: str, heads: int, shifted: bool
) -> Iterator[Rule]:
    c = config.embed_dim
    h, w = config.split_size
    branches = ((h, w), (w, h))
    if shifted:
        side = buffers.MASK_IMAGE_SIZE
        for n, window in enumerate(branches):
            shape = ((side // h) * (side // w), h * w, h * w)
            yield _constant(f"{name}.attn_mask_{n}", shape, buffers.attention_mask, window)
    yield from _linear(f"{name}.qkv", f"{path}/qkv", c, 3 * c, bias=config.qkv_bias)
    yield from _linear(f"{name}.proj", f"{path}/proj", c, c)
    for n, window in enumerate(branches):
        yield from _position_bias(f"{name}.attns.{n}", f"{path}/pos_bias_{n}", c, heads, window)
    yield from _depthwise_conv(f"{name}.get_v", f"{path}/local_conv", c)


def _position_bias(
    name: str, path: str, c: int, heads: int, window: tuple[int, int]
) -> Iterator[Rule]:
    h, w = window
    offsets, n = (2 * h - 1) * (2 * w - 1), h * w
    yield _constant(f"{name}.rpe_biases", (offsets, 2), buffers.relative_offsets, window)
    yield _constant(f"{name}.relative_position_index", (n, n), buffers.relative_index, window)
    width = c // 2 // 4 // 4
    yield from _linear(f"{name}.pos.pos_proj", f"{path}/proj", 2, width)
    for j, out in ((1, width), (2, width), (3, heads)):
        yield from _norm(f"{name}.pos.pos{j}.0", f"{path}/norm{j}", width)
        yield from _linear(f"{name}.pos.pos{j}.2", f"{path}/dense{j}", width, out)


def _moe(config: ARMoEConfig, name: str, path: str) -> Iterator[Rule]:
    c = config.embed_dim
    yield from _depthwise_conv(f"{name}.dwconv", f"{path}/dwconv", c)
    yield from _linear(f"{name}.linear", f"{path}/linear", c, 2 * c)
    if config.experts:
        yield from _gate(f"{name}.policy.net", f"{path}/gate", c, len(config.experts))
    yield from _norm(f"{name}.out_norm", f"{path}/out_norm", c)
    yield from _linear(f"{name}.out_linear", f"{path}/out_linear", c, c)
    if config.experts:
        yield from _linear(f"{name}.to_k.0", f"{path}/to_k", c, c)
    if "swt" in config.experts:
        yield from _wavelet_fusion(f"{name}.swt", f"{path}/swt", c)


def _gate(name: str, path: str, c: int, num_experts: int) -> Iterator[Rule]:
    first, second = HIDDEN
    yield from _linear(f"{name}.0", f"{path}/dense0", c, first)
    yield from _batch_norm(f"{name}.2", f"{path}/norm0", first)
    yield from _linear(f"{name}.3", f"{path}/dense1", first, second)
    yield from _batch_norm(f"{name}.5", f"{path}/norm1", second)
    yield from _linear(f"{name}.6", f"{path}/dense2", second, num_experts)


def _wavelet_fusion(name: str, path: str, c: int) -> Iterator[Rule]:
    for axis, shape in (("col", (1, 1, 2, 1)), ("row", (1, 1, 1, 2))):
        for n, high in enumerate((False, True)):
            make = functools.partial(buffers.haar_filter, high=high, shape=shape)
            yield Constant(f"{name}.h{n}_{axis}", shape, make)
    yield from _conv(f"{name}.fusion", f"{path}/fusion", 4 * c, c, side=1)


def _ffn(name: str, path: str, c: int, hidden: int) -> Iterator[Rule]:
    half = hidden // 2
    yield from _linear(f"{name}.fc1", f"{path}/fc1", c, hidden)
    yield from _norm(f"{name}.sg.norm", f"{path}/norm", half)
    yield from _depthwise_conv(f"{name}.sg.conv", f"{path}/conv", half)
    yield from _linear(f"{name}.fc2", f"{path}/fc2", half, c)


def _residual_conv(name: str, path: str, config: ARMoEConfig) -> Iterator[Rule]:
    c = config.embed_dim
    if config.resi_connection == "1conv":
        yield from _conv(name, path, c, c)
        return
    quarter = c // 4
    yield from _conv(f"{name}.0", f"{path}/conv0", c, quarter)
    yield from _conv(f"{name}.2", f"{path}/conv1", quarter, quarter, side=1)
    yield from _conv(f"{name}.4", f"{path}/conv2", quarter, c)


def _tail(config: ARMoEConfig) -> Iterator[Rule]:
    c, chans = config.embed_dim, config.in_chans
    if config.upsampler == "icar":
        yield from _conv("conv_before.0", "conv_before", c, _TAIL_WIDTH)
        yield from _conv("conv_last", "conv_last", _TAIL_WIDTH, chans)
    elif config.upsampler == "lightSR":
        yield from _conv("upsample.0", "upsample", c, chans * config.upscale**2)


def _quality(config: ARMoEConfig) -> Iterator[Rule]:
    """What only networks of this project have: they come last, after the released tensors."""
    if not config.quality_range:
        return
    layers = {"fine": (BLOCK**2, WIDTH), "coarse": (BLOCK**2, WIDTH)}
    layers |= {"image": (2 * WIDTH, WIDTH), "position": (WIDTH, 1)}
    for name, (fan_in, out) in layers.items():
        yield from _conv(f"quality.{name}", f"quality/{name}", fan_in, out, side=1)
    for end in ("first", "last"):
        shape = (KNOTS, 2 * config.embed_dim)
        yield _param(f"modulation_{end}.table", shape, f"modulation_{end}/table", (0, 1))


def _param(name: str, shape: tuple[int, ...], path: str, axes: tuple[int, ...]) -> Weight:
    return Weight(name, shape, f"params/{path}", axes)


def _linear(name: str, path: str, fan_in: int, out: int, *, bias: bool = True) -> Iterator[Rule]:
    yield _param(f"{name}.weight", (out, fan_in), f"{path}/kernel", _MATRIX)
    if bias:
        yield _param(f"{name}.bias", (out,), f"{path}/bias", _VECTOR)


def _conv(name: str, path: str, fan_in: int, out: int, *, side: int = 3) -> Iterator[Rule]:
    yield _param(f"{name}.weight", (out, fan_in, side, side), f"{path}/kernel", _KERNEL)
    yield _param(f"{name}.bias", (out,), f"{path}/bias", _VECTOR)


def _depthwise_conv(name: str, path: str, width: int) -> Iterator[Rule]:
    yield from _conv(name, path, 1, width)


def _norm(name: str, path: str, width: int) -> Iterator[Rule]:
    yield _param(f"{name}.weight", (width,), f"{path}/scale", _VECTOR)
    yield _param(f"{name}.bias", (width,), f"{path}/bias", _VECTOR)


def _batch_norm(name: str, path: str, width: int) -> Iterator[Rule]:
    yield from _norm(name, path, width)
    yield Weight(f"{name}.running_mean", (width,), f"batch_stats/{path}/mean", _VECTOR)
    yield Weight(f"{name}.running_var", (width,), f"batch_stats/{path}/var", _VECTOR)
    yield Counter(f"{name}.num_batches_tracked", path)


def _constant(
    name: str,
    shape: tuple[int, ...],
    make: Callable[[tuple[int, int]], np.ndarray],
    window: tuple[int, int],
) -> Constant:
    return Constant(name, shape, functools.partial(make, window))
