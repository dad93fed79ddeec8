"""Exports a network as StableHLO with a fixed tile and any batch size, for several platforms."""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import export as jax_export

from armoe_jax.exported.runner import (
    NUM_STEPS,
    SYMBOLIC_BATCH,
    ExportInfo,
    load_export,
    write_export,
)
from armoe_jax.models import AnyConfig, Network, build_model, config_from_dict
from armoe_jax.models.told_quality import told_quality
from armoe_jax.ops.tiling import check_tile
from armoe_jax.runtime.files import written_beside

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
CHECK_TOLERANCE = 1e-4
"""Largest difference allowed between program and network, of values in [0, 1], in float32."""


def export_model(
    path: str | os.PathLike,
    config: AnyConfig,
    variables: Mapping[str, Any],
    *,
    tile: int = 256,
    batch: int | None = None,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
    dtype: str = "float32",
    coding_quality: float | None = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> ExportInfo:
    """Writes a network as a file that `armoe_jax.exported.load_export` runs without model code.

    Args:
        path: File to write; appears only when complete.
        config: Architecture.
        variables: {"params": ..., "batch_stats": ...}.
        tile: Side of the input, pixels; even, 16 or more, a multiple of `config.alignment`.
        batch: Images a call, or None for any number.
        platforms: Where it shall run, out of `PLATFORMS`; they need not be here.
        dtype: Precision of matrix operands, "float32" or "bfloat16".
        coding_quality: QP (of JPEG: quality) that all images were coded with, for networks that
            adapt to it; None: the program estimates it.
        provenance: Kept in the file for the record.
        overwrite: Whether `path` may be replaced.

    Raises:
        FileExistsError: If `path` exists and may not be replaced.
        ValueError: If tile, batch, platform, dtype or coding_quality are not possible.
    """
    check_shape(config, tile, batch)
    quality_of(coding_quality, config)  # refused before anything is written
    unknown = sorted(set(platforms) - set(PLATFORMS))
    if unknown or not platforms:
        raise ValueError(f"platforms {list(platforms)} are not among {PLATFORMS}")
    info = ExportInfo(
        tile=tile,
        channels=config.in_chans,
        scale=config.scale,
        batch=batch,
        dtype=dtype,
        platforms=tuple(platforms),
        expert_names=config.experts,
        config=config.to_dict(),
        provenance=dict(provenance or {}),
        alignment=config.alignment,
        takes_steps=config.interval_head,
        coding_quality=coding_quality,
    )
    weights = flatten(variables)
    with written_beside(Path(path), overwrite=overwrite) as beside:
        write_export(beside, info, bytes(lower(info, weights).serialize()), weights)
    return info


def check_shape(config: AnyConfig, tile: int, batch: int | None) -> None:
    """Raises ValueError if a network cannot be exported for such tiles or batches."""
    check_tile(tile, 0)
    if tile % config.alignment:
        raise ValueError(f"tile is {tile}; this network needs a multiple of {config.alignment}")
    if batch is not None and batch < 1:
        raise ValueError(f"batch is {batch}; give 1 or more, or None for any number")


def lower(info: ExportInfo, weights: Mapping[str, Any]) -> jax_export.Exported:
    """Traces and lowers the network: (weights by path, x[, steps]) -> (y, expert)."""
    config = config_from_dict(info.config)
    model = build_model(config, dtype=info.dtype)
    quality = quality_of(info.coding_quality, config)

    def program(weights: dict[str, jax.Array], x: jax.Array, *steps: jax.Array) -> tuple[Any, Any]:
        y, routing = _apply(model, quality, unflatten(weights), x, *steps)
        return y, routing.expert

    batch = info.batch or jax_export.symbolic_shape(SYMBOLIC_BATCH)[0]
    shapes = {
        name: jax.ShapeDtypeStruct(np.shape(value), np.asarray(value).dtype)
        for name, value in weights.items()
    }
    inputs = [jax.ShapeDtypeStruct((batch, info.tile, info.tile, info.channels), jnp.float32)]
    if info.takes_steps:
        inputs.append(jax.ShapeDtypeStruct((batch, NUM_STEPS), jnp.float32))
    return jax_export.export(jax.jit(program), platforms=info.platforms)(shapes, *inputs)


def check_export(path: str | os.PathLike, config: AnyConfig, variables: Mapping[str, Any]) -> float:
    """Runs an export and the network on two random tiles (or as many as it takes).

    Returns:
        The largest difference, of values in [0, 1].

    Raises:
        ValueError: If they differ by more than `CHECK_TOLERANCE` (float32; bfloat16 is only
            measured), or the file cannot be run here.
    """
    exported = load_export(path)
    info = exported.info
    shape = (info.batch or 2, info.tile, info.tile, info.channels)
    rng = np.random.default_rng(0)
    x, told = rng.random(shape, np.float32), {}
    if info.takes_steps:  # and the first file is unknown
        told["steps"] = rng.integers(1, 99, (shape[0], NUM_STEPS)).astype(np.float32)
        told["steps"][0] = 0
    model = build_model(config, dtype=info.dtype)
    quality = quality_of(info.coding_quality, config)
    theirs, _ = _apply(model, quality, variables, jnp.asarray(x), *map(jnp.asarray, told.values()))
    difference = float(jnp.abs(exported(x, **told).image - theirs).max())
    if info.dtype == "float32" and not difference <= CHECK_TOLERANCE:
        raise ValueError(
            f"{path}: differs by {difference:.2e} from the network, more than {CHECK_TOLERANCE}"
        )
    return difference


def quality_of(coding_quality: float | None, config: AnyConfig) -> float | None:
    """Returns the `quality` of the network that a program shall fix, None if it shall not."""
    return None if coding_quality is None else told_quality(coding_quality, config)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply(
    model: Network,
    quality: float | None,
    variables: Mapping[str, Any],
    x: jax.Array,
    steps: jax.Array | None = None,
) -> Any:
    told: dict[str, Any] = {} if steps is None else {"steps": steps}
    if quality is not None:
        told["quality"] = jnp.full(x.shape[:1], quality, jnp.float32)
    return model.apply(variables, x, return_routing=True, **told)


def flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arrays by path, "params/conv_first/kernel"."""
    return traverse_util.flatten_dict(dict(variables), sep="/")


def unflatten(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested variables; the inverse of `flatten`."""
    return traverse_util.unflatten_dict(dict(weights), sep="/")
