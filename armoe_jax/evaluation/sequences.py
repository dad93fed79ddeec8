"""Measuring restored sequences of YUV pictures against originals, as video coding does."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armoe_jax.evaluation.tables import markdown, number
from armoe_jax.images.files import match_stems
from armoe_jax.metrics import sequence_psnr
from armoe_jax.video.color import planes_to_rgb, rgb_to_planes
from armoe_jax.video.options import RAW_SUFFIXES, VideoOptions
from armoe_jax.video.raw import RawSource
from armoe_jax.video.yuv import Planes

FIGURES = {"y": "Y", "u": "U", "v": "V", "weighted_611": "6:1:1", "yuv": "YUV"}
"""Figure of `armoe_jax.metrics.SequencePSNR` -> heading."""

Restore = Callable[[NDArray[np.uint16]], NDArray[np.uint16]]


def sequences_at(path: Path) -> list[Path]:
    """Returns the .y4m and .yuv files of a folder (hidden ones not), or the file if it is one."""
    found = sorted(p for p in path.iterdir() if p.name[0] != ".") if path.is_dir() else [path]
    return [file for file in found if file.suffix.lower() in RAW_SUFFIXES and file.is_file()]


def pairs_of_sequences(gt: Path, lq: Path) -> list[tuple[Path, Path]]:
    """Pairs originals and coded sequences: two files, or two folders, then by stem.

    Raises:
        ValueError: If a folder meets a file, or a stem occurs twice or on one side only.
    """
    if gt.is_dir() != lq.is_dir():
        raise ValueError(f"{gt} and {lq}: one is a folder, the other is not")
    return match_stems(sequences_at(gt), sequences_at(lq)) if gt.is_dir() else [(gt, lq)]


def count_frames(pairs: Iterable[tuple[Path, Path]], options: VideoOptions) -> int:
    """Returns how many frames the coded sequences have, by the sizes of their files.

    Raises:
        ValueError: If one cannot be read; the file is named.
    """
    return sum(_open(coded, options).info.num_frames for _, coded in pairs)


def evaluate_sequences(
    restore: Restore, pairs: Iterable[tuple[Path, Path]], options: VideoOptions
) -> dict[str, Any]:
    """Restores coded sequences, and compares them and the restored ones with the originals.

    Restored pictures are measured as they would be written: samples of the input's format.

    Args:
        restore: Takes and returns a 16-bit picture of one size, (H, W, 3) RGB.
        pairs: Originals and coded sequences; one frame of each is held at a time.
        options: Size and format of headerless files, and colours.

    Returns:
        A JSON-able record: `num_sequences`; the means over sequences of `psnr_y`, `psnr_u`,
        `psnr_v`, `psnr_weighted_611` and `psnr_yuv` in dB (see `armoe_jax.metrics.SequencePSNR`),
        restored, and as `lq_psnr_...` those of the coded ones; `sequences`, a list with `name` (the
        original's stem), `num_frames` and the same figures each. None stands for infinity and for
        a mean over such.

    Raises:
        ValueError: If there are no pairs, or formats or lengths differ; the file is named.
    """
    rows = [_measure(restore, *pair, options) for pair in pairs]
    if not rows:
        raise ValueError("there are no pairs of sequences to evaluate")
    names = [name for name in rows[0] if "psnr" in name]
    means = {name: _mean([row[name] for row in rows]) for name in names}
    return {"num_sequences": len(rows), **means, "sequences": rows}


def sequence_table(record: dict[str, Any]) -> str:
    """Returns a Markdown table: restored PSNR and its gain, of each sequence and their mean."""
    header = ["PSNR (dB)", *(cell for part in FIGURES.values() for cell in (part, "gain"))]
    rows = []
    for row in [*record["sequences"], {**record, "name": "mean"}]:
        cells = [row["name"]]
        for name in FIGURES:
            coded, restored = row[f"lq_psnr_{name}"], row[f"psnr_{name}"]
            gain = None if coded is None or restored is None else restored - coded
            cells += [number("psnr", restored), number("psnr", gain, signed=True)]
        rows.append(cells)
    return markdown(header, rows)


def _measure(
    restore: Restore, original: Path, coded: Path, options: VideoOptions
) -> dict[str, Any]:
    source, reference = _open(coded, options), _open(original, options)
    if source.info.format != reference.info.format:
        raise ValueError(
            f"{coded}: {_described(source)}, but the original {original} is "
            f"{_described(reference)}; both must be equal"
        )
    try:
        before = sequence_psnr(source.planes(), reference.planes(), bits=source.info.format.bits)
        after = sequence_psnr(
            _restored(restore, source), reference.planes(), bits=source.info.format.bits
        )
    except ValueError as error:
        raise ValueError(f"{coded}: {error}") from error
    row: dict[str, Any] = {"name": original.stem, "num_frames": len(after.frames)}
    for prefix, measured in (("psnr", after), ("lq_psnr", before)):
        for name in FIGURES:
            row[f"{prefix}_{name}"] = _finite(getattr(measured, name))
    return row


def _open(path: Path, options: VideoOptions) -> RawSource:
    stated = path.suffix.lower() == ".y4m"  # the other file of a pair may need to be told its size
    return RawSource(path, dataclasses.replace(options, yuv_size=None) if stated else options)


def _restored(restore: Restore, source: RawSource) -> Iterator[Planes]:
    fmt, color = source.info.format, source.info.color
    for planes in source.planes():
        yield rgb_to_planes(restore(planes_to_rgb(planes, fmt, color)), fmt, color)


def _described(source: RawSource) -> str:
    fmt = source.info.format
    return f"{fmt.width}x{fmt.height} {fmt.pixel_format}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if len(known) == len(values) else None
