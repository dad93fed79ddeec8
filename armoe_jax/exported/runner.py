"""Runs exported networks. Needs JAX and the file, but none of the model code.

An export is one zip file (members stored, not compressed) with

    export.json          what it is: see `ExportInfo`
    program.bin          jax.export's serialised StableHLO: (weights, x) -> (y, expert), or
                         (weights, x, steps) where `ExportInfo.takes_steps`
    weights.safetensors  the weights by path, for example "params/conv_first/kernel"

`write_export` makes such a file; `writer` prepares its contents from a
network.
"""

import dataclasses
import hashlib
import io
import json
import math
import os
import reprlib
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import numpy as np
import safetensors.numpy
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from armoe_jax.ops.tiling import TilePlan, mirror_indices, plan_tiles
from armoe_jax.runtime.errors import one_line
from armoe_jax.runtime.json_files import is_integer, parse_json

FORMAT_VERSION = 3
READABLE_VERSIONS = (1, 2, 3)
"""Files of version 1 have neither `alignment` nor `takes_steps`, those of version 2 no
`coding_quality`: the defaults hold."""

NUM_STEPS = 64
DEFAULT_OVERLAP = 32
SYMBOLIC_BATCH = "b"
_INFO, _PROGRAM, _WEIGHTS = "export.json", "program.bin", "weights.safetensors"

# What zipfile raises beside ValueError for headers that are damaged, NotImplementedError where they
# name a compression that it does not know.
_DAMAGE = (zipfile.BadZipFile, EOFError, KeyError, NotImplementedError, RuntimeError, struct.error)


@dataclasses.dataclass(frozen=True)
class ExportInfo:
    """What an exported program is.

    Attributes:
        tile: Height and width of its input, pixels.
        channels: Image channels of input and output.
        scale: Output size over input size.
        batch: Images a call; None if any number (a symbolic dimension).
        dtype: Precision of matrix operands inside; input and output are float32.
        platforms: Where it runs: "cpu", "cuda", "rocm", "tpu".
        expert_names: Names for the values of the second output.
        config: The architecture, for the record.
        provenance: Where the weights come from, for the record.
        alignment: Corners of tiles must be at multiples of this many pixels.
        takes_steps: Whether the program takes the quantiser steps of JPEGs beside the images: that
            of a network with an interval head does.
        coding_quality: QP (of JPEG: quality) that the program takes all images to be coded with;
            None: it estimates that, if it adapts to it.
        jax_version: Of the export.
        format_version: Of this file format.
    """

    tile: int
    channels: int
    scale: int
    batch: int | None
    dtype: str
    platforms: tuple[str, ...]
    expert_names: tuple[str, ...]
    config: dict[str, Any]
    provenance: dict[str, Any]
    alignment: int = 1
    takes_steps: bool = False
    coding_quality: float | None = None
    jax_version: str = jax.__version__
    format_version: int = FORMAT_VERSION


class ExportedOutput(NamedTuple):
    """Result of a call.

    Attributes:
        image: Restored tiles, not clipped.
        expert: Which expert each layer took for each image, or for each window of it.
    """

    image: Float[Array, "b hs ws c"]
    expert: Int[Array, "l b *n"]


class ExportedModel:
    """A network read by `load_export`."""

    def __init__(self, info: ExportInfo, program: Any, weights: Mapping[str, Any]):
        self.info = info
        self._program = program
        self._weights = {name: jax.numpy.asarray(value) for name, value in weights.items()}
        self._call = jax.jit(lambda *arguments: ExportedOutput(*program.call(*arguments)))

    def __call__(
        self,
        x: Float[Array, "b h w c"] | Float[np.ndarray, "b h w c"],
        *,
        steps: Float[Array, "b 64"] | Float[np.ndarray, "b 64"] | None = None,
    ) -> ExportedOutput:
        """Runs the program on a batch of tiles.

        Args:
            x: float32 in [0, 1]; `info.tile` high and wide, and `info.batch` images if fixed.
            steps: Quantiser steps of the luma of JPEGs, by frequency, row by row; 0 where unknown,
                as are all by default. The blocks must start at the tiles' corners. Only for
                programs that take them (`info.takes_steps`).

        Raises:
            ValueError: If shape or type differ, or the platform is not one of the export's.
        """
        side, batch = self.info.tile, self.info.batch
        if x.shape[1:] != (side, side, self.info.channels) or x.dtype != np.float32:
            raise ValueError(
                f"x is {x.dtype} {x.shape}; this program takes float32 "
                f"({batch or 'B'}, {side}, {side}, {self.info.channels})"
            )
        if x.shape[0] == 0 or x.shape[0] != (batch or x.shape[0]):
            raise ValueError(
                f"a batch of {x.shape[0]}; this program takes {batch or 'one or more'}"
            )
        self._check_platform()
        if not self.info.takes_steps:
            if steps is not None:
                raise ValueError("steps are given, but this program knows no quantiser steps")
            return self._call(self._weights, x)
        if steps is None:
            steps = np.zeros((x.shape[0], NUM_STEPS), np.float32)
        if steps.shape != (x.shape[0], NUM_STEPS) or steps.dtype != np.float32:
            raise ValueError(
                f"steps are {steps.dtype} {steps.shape}; this program takes float32 "
                f"({x.shape[0]}, {NUM_STEPS}) with these images"
            )
        return self._call(self._weights, x, steps)

    def restore(
        self,
        image: NDArray[Any],
        *,
        overlap: int | None = None,
        batch: int = 1,
        steps: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Restores an image of any size in feathered tiles.

        Args:
            image: uint8 or uint16, (H, W, channels), or (H, W) for one channel.
            overlap: Pixels that neighbouring tiles share, at least; by default 32, or less for
                tiles under 128.
            batch: Tiles run together; the export's own number if that is fixed.
            steps: The luma quantiser table of the JPEG that the image is, (8, 8), in natural order;
                for programs that take it, and only where the blocks start at the image's corner.

        Returns:
            The restored image, of the same type; sides times `info.scale`.

        Raises:
            ValueError: If the image does not fit the program.
        """
        gray = image.ndim == 2
        pixels = image[..., None] if gray else image
        if pixels.ndim != 3 or pixels.shape[2] != self.info.channels or 0 in pixels.shape:
            raise ValueError(
                f"image {image.shape}; this program takes (H, W, {self.info.channels})"
            )
        if image.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"image of {image.dtype}; uint8 and uint16 are known")
        peak = np.iinfo(image.dtype).max
        if overlap is None:
            overlap = min(DEFAULT_OVERLAP, self.info.tile // 4)
        height, width = pixels.shape[:2]
        plan = plan_tiles(height, width, self.info.tile, overlap, alignment=self.info.alignment)
        values = _blend(self._run_tiles(pixels, plan, peak, batch, steps), plan, self.info)
        out = np.rint(np.clip(values, 0, 1) * np.float32(peak)).astype(image.dtype)
        return out[..., 0] if gray else out

    def _run_tiles(
        self,
        pixels: NDArray[Any],
        plan: TilePlan,
        peak: int,
        batch: int,
        steps: NDArray[Any] | None,
    ) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
        """Yields (row, column, restored tile); the last batch is filled up by repetition."""
        batch = self.info.batch or batch
        places = list(plan.tiles())
        table = None
        if steps is not None:
            table = np.repeat(np.reshape(steps, (1, -1)), batch, axis=0).astype(np.float32)
        for start in range(0, len(places), batch):
            some = places[start : start + batch]
            full = [some[min(i, len(some) - 1)] for i in range(batch)]
            tiles = np.stack([_cut(pixels, plan, *place, self.info.tile) for place in full])
            unit = tiles.astype(np.float32) / np.float32(peak)
            output = np.asarray(self(unit, steps=table).image)
            yield from ((*place, tile) for place, tile in zip(some, output, strict=False))

    def _check_platform(self) -> None:
        here = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
        if here not in self.info.platforms:
            raise ValueError(
                f"this export runs on {', '.join(self.info.platforms)}; JAX runs on {here} here: "
                f"export with --platforms {here}, or set JAX_PLATFORMS={self.info.platforms[0]}"
            )


def write_export(
    path: str | os.PathLike, info: ExportInfo, program: bytes, weights: Mapping[str, Any]
) -> None:
    """Writes an export (not atomically: give a temporary place).

    Args:
        path: File to write.
        info: Its description.
        program: Serialised program.
        weights: Arrays by path.
    """
    arrays = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    members = {_PROGRAM: program, _WEIGHTS: safetensors.numpy.save(arrays)}
    record = dataclasses.asdict(info) | {
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    }
    members = {_INFO: json.dumps(record, indent=1).encode(), **members}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, data in members.items():
            # A fixed date: equal contents make equal files.
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)


def load_export(path: str | os.PathLike) -> ExportedModel:
    """Reads an export.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no export, damaged, or of a newer format.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        members = _read_members(Path(path))
        info = _parse_info(members)
        program = jax.export.deserialize(bytearray(members[_PROGRAM]))
        weights = safetensors.numpy.load(members[_WEIGHTS])
    except (ValueError, *_DAMAGE) as error:
        raise ValueError(f"{path}: not an export that can be read ({one_line(error)})") from error
    return ExportedModel(info, program, weights)


def _read_members(path: Path) -> dict[str, bytes]:
    # Read at once, so that what the system refuses is told from damaged offsets.
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as file:
        for entry in file.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"member {entry.filename} is compressed, which exports never are")
        return {name: file.read(name) for name in (_INFO, _PROGRAM, _WEIGHTS)}


def _parse_info(members: Mapping[str, bytes]) -> ExportInfo:
    """Reads the description, and checks the other members by it before anything parses them."""
    record = parse_json(members[_INFO].decode())
    if not isinstance(record, dict):
        raise ValueError(f"{_INFO} holds a {type(record).__name__}, not an object")
    version, checksums = record.get("format_version"), record.pop("sha256", None)
    if not is_integer(version) or version not in READABLE_VERSIONS:
        raise ValueError(
            f"format version {reprlib.repr(version)}, this code reads {READABLE_VERSIONS}"
        )
    for name in (_PROGRAM, _WEIGHTS):
        checksum = hashlib.sha256(members[name]).hexdigest()
        if not isinstance(checksums, dict) or checksums.get(name) != checksum:
            raise ValueError(f"the checksum of {name} does not match: the file is damaged")
    fields = {field.name: field for field in dataclasses.fields(ExportInfo)}
    needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    if not needed <= set(record) <= set(fields):
        raise ValueError(
            f"{_INFO} has the fields {reprlib.repr(sorted(record))}, expected {sorted(fields)}"
        )
    for name, value in record.items():
        if not _ALLOWED[name](value):
            raise ValueError(f"{_INFO}: {name} is {reprlib.repr(value)}")
        record[name] = tuple(value) if isinstance(value, list) else value
    return ExportInfo(**record)


def _cut(pixels: NDArray[Any], plan: TilePlan, row: int, column: int, side: int) -> NDArray[Any]:
    """Returns a tile of the full side, mirrored where the image ends."""
    spans = ((plan.rows, row), (plan.columns, column))
    indices = (
        mirror_indices(axis.spans[i].start + np.arange(side), axis.length, False)
        for axis, i in spans
    )
    return pixels[np.ix_(*indices)]


def _blend(
    tiles: Iterator[tuple[int, int, NDArray[np.float32]]], plan: TilePlan, info: ExportInfo
) -> NDArray[np.float32]:
    """Adds weighted tiles up; the weights of all tiles sum to 1 at every pixel."""
    scale = info.scale
    size = (plan.rows.length * scale, plan.columns.length * scale, info.channels)
    canvas = np.zeros(size, np.float32)
    for row, column, tile in tiles:
        rows, columns = plan.rows.spans[row], plan.columns.spans[column]
        weights = plan.rows.weights(rows, scale)[:, None] * plan.columns.weights(columns, scale)
        height, width = weights.shape
        top, left = rows.start * scale, columns.start * scale
        canvas[top : top + height, left : left + width] += (
            tile[:height, :width] * weights[..., None]
        )
    return canvas


def _is_count(value: Any) -> bool:
    return is_integer(value) and 1 <= value <= _MAX_COUNT


def _is_number(value: Any) -> bool:
    return is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_MAX_COUNT = 2**16
_ALLOWED: dict[str, Callable[[Any], bool]] = {
    "tile": _is_count,
    "channels": _is_count,
    "scale": _is_count,
    "batch": lambda value: value is None or _is_count(value),
    "dtype": _is_text,
    "platforms": _are_names,
    "expert_names": _are_names,
    "config": _is_object,
    "provenance": _is_object,
    "alignment": _is_count,
    "takes_steps": lambda value: isinstance(value, bool),
    "coding_quality": lambda value: value is None or _is_number(value),
    "jax_version": _is_text,
    "format_version": is_integer,
}
"""What each field of a description may be."""
