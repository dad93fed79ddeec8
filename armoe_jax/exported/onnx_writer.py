"""Exports networks of convolutions as ONNX, for programs that run neither Python nor JAX.

The conversion is jax2onnx's, an optional dependency (`armoe-jax[onnx]`).
"""

import dataclasses
import importlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from armoe_jax.exported.writer import CHECK_TOLERANCE, check_shape, quality_of
from armoe_jax.models import AnyConfig, build_model
from armoe_jax.runtime.errors import UserError
from armoe_jax.runtime.files import written_beside

OPSET = 23
"""Version of ONNX's operators that files are written in: jax2onnx's default."""

INPUT, OUTPUT = "input", "output"
MISSING = (
    "exporting to ONNX needs the packages jax2onnx and onnxruntime: pip install 'armoe-jax[onnx]'"
)


@dataclasses.dataclass(frozen=True)
class OnnxInfo:
    """What an ONNX file is.

    Attributes:
        tile: Height and width of input and output, pixels.
        channels: Of both; they are the second axis, before height and width.
        batch: Images a call; None if any number.
        opset: Version of the operators.
        num_bytes: Size of the file.
        coding_quality: As it was given to `export_onnx`.
    """

    tile: int
    channels: int
    batch: int | None
    opset: int
    num_bytes: int
    coding_quality: float | None = None


def export_onnx(
    path: str | os.PathLike,
    config: AnyConfig,
    variables: Mapping[str, Any],
    *,
    tile: int = 256,
    batch: int | None = None,
    coding_quality: float | None = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> OnnxInfo:
    """Writes a windowed network without experts as ONNX, from pixels to pixels.

    Input and output are float32, (batch, channels, tile, tile), RGB or gray in [0, 1], the output
    not clipped. The network is told how strongly all were coded, or estimates it for each tile;
    what files tell of it has no place in such a program. The architecture, `coding_quality` and
    `provenance` are kept as metadata.

    Args:
        path: File to write; appears only when complete.
        config: Architecture.
        variables: {"params": ...}.
        tile: Side of the input, pixels; 16 or more, a multiple of `config.alignment`.
        batch: Images a call, or None for any number.
        coding_quality: QP (of JPEG: quality) of all images, for networks that adapt to it.
        provenance: Kept in the file for the record.
        overwrite: Whether `path` may be replaced.

    Raises:
        FileExistsError: If `path` exists and may not be replaced.
        UserError: If the extra `onnx` is not installed.
        ValueError: If the network has experts or the released architecture, or tile, batch or
            coding_quality are not possible.
    """
    _check_kind(config)
    check_shape(config, tile, batch)
    jax2onnx, onnx = _require("jax2onnx"), _require("onnx")
    apply = _application(config, quality_of(coding_quality, config))
    weights = jax.tree.map(jnp.asarray, dict(variables))
    with written_beside(Path(path), overwrite=overwrite) as beside, _quiet_converter():
        program = jax2onnx.to_onnx(
            lambda x: apply(weights, x),
            [(batch or "B", tile, tile, config.in_chans)],
            model_name="armoe_jax",
            opset=OPSET,
            inputs_as_nchw=[0],
            outputs_as_nchw=[0],
            input_names=[INPUT],
            output_names=[OUTPUT],
        )
        record = {
            "config": config.to_dict(),
            "coding_quality": coding_quality,
            "provenance": dict(provenance or {}),
        }
        texts = {name: json.dumps(value) for name, value in record.items()}
        onnx.helper.set_model_props(program, texts)
        onnx.checker.check_model(program)
        beside.write_bytes(program.SerializeToString())
    size = Path(path).stat().st_size
    return OnnxInfo(tile, config.in_chans, batch, OPSET, size, coding_quality)


def check_onnx(
    path: str | os.PathLike, info: OnnxInfo, config: AnyConfig, variables: Mapping[str, Any]
) -> float:
    """Runs an ONNX file and the network on two random tiles (or as many as it takes), on the CPU.

    Returns:
        The largest difference, of values in [0, 1].

    Raises:
        UserError: If the extra `onnx` is not installed.
        ValueError: If they differ by more than `CHECK_TOLERANCE`.
    """
    runtime = _require("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors; what the optimiser thinks of shapes is its own affair
    session = runtime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    shape = (info.batch or 2, info.tile, info.tile, info.channels)
    x = np.random.default_rng(0).random(shape, np.float32)
    (theirs,) = session.run([OUTPUT], {INPUT: np.ascontiguousarray(x.transpose(0, 3, 1, 2))})
    apply = _application(config, quality_of(info.coding_quality, config))
    with jax.default_device(jax.devices("cpu")[0]):
        ours = jax.jit(apply)(variables, jnp.asarray(x))
    difference = float(np.abs(theirs.transpose(0, 2, 3, 1) - np.asarray(ours)).max())
    if not difference <= CHECK_TOLERANCE:
        raise ValueError(
            f"{path}: differs by {difference:.2e} from the network, more than {CHECK_TOLERANCE}"
        )
    return difference


def _application(config: AnyConfig, quality: float | None) -> Callable[[Any, jax.Array], jax.Array]:
    model: Any = build_model(config)
    if quality is None:
        return model.apply

    def told(variables: Any, x: jax.Array) -> jax.Array:
        # Made of x, since jax2onnx cannot fill arrays of an unknown number.
        return model.apply(variables, x, quality=x[:, 0, 0, 0] * 0.0 + quality)

    return told


def _check_kind(config: AnyConfig) -> None:
    if config.mixture != "windowed" or config.experts:
        what = f"experts {config.experts}" if config.experts else "the released architecture"
        raise ValueError(
            f"this network has {what}; only windowed networks without experts, such as "
            "car_small_jpeg, are exported to ONNX: take --format stablehlo"
        )


def _require(package: str) -> Any:
    """Imports a package of the extra."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise UserError(MISSING) from error


@contextmanager
def _quiet_converter() -> Iterator[None]:
    """Leaves out the converter's warnings of shapes that it does not know, dozens a file."""
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
