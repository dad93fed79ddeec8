"""Measuring restored sequences of YUV pictures against originals, as video coding does."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armoe_jax.evaluation.record import Figures, mean
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


@dataclasses.dataclass(frozen=True)
class SequenceRecord:
    """One sequence.

    Attributes:
        name: The original's stem.
        num_frames: Frames that were compared.
        figures: In dB, `psnr_y`, `psnr_u`, `psnr_v`, `psnr_weighted_611` and `psnr_yuv` (see
            `armoe_jax.metrics.SequencePSNR`) of the restored sequence, and as `lq_psnr_...` those
            of the coded one; None for infinity.
    """

    name: str
    num_frames: int
    figures: Figures

    def to_dict(self) -> dict[str, Any]:
        """Returns one flat, JSON-able row."""
        return {"name": self.name, "num_frames": self.num_frames, **self.figures}


@dataclasses.dataclass(frozen=True)
class SequenceEvaluation:
    """Sequences that were restored and compared with their originals; at least one."""

    sequences: tuple[SequenceRecord, ...]

    def __post_init__(self):
        if not self.sequences:
            raise ValueError("there are no pairs of sequences to evaluate")

    @functools.cached_property
    def means(self) -> Figures:
        """Mean of each figure over the sequences; None over any None."""
        rows = [sequence.figures for sequence in self.sequences]
        return {name: mean(row[name] for row in rows) for name in rows[0]}

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON-able form: `num_sequences`, the means, and `sequences`."""
        rows = [sequence.to_dict() for sequence in self.sequences]
        return {"num_sequences": len(rows), **self.means, "sequences": rows}


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
) -> SequenceEvaluation:
    """Restores coded sequences, and compares them and the restored ones with the originals.

    Restored pictures are measured as they would be written: samples of the input's format.

    Args:
        restore: Takes and returns a 16-bit picture of one size, (H, W, 3) RGB.
        pairs: Originals and coded sequences; one frame of each is held at a time.
        options: Size and format of headerless files, and colours.

    Raises:
        ValueError: If there are no pairs, or formats or lengths differ; the file is named.
    """
    return SequenceEvaluation(tuple(_measure(restore, *pair, options) for pair in pairs))


def sequence_table(evaluation: SequenceEvaluation) -> str:
    """Returns a Markdown table: restored PSNR and its gain, of each sequence and their mean."""
    header = ["PSNR (dB)", *(cell for part in FIGURES.values() for cell in (part, "gain"))]
    rows = []
    named = [(sequence.name, sequence.figures) for sequence in evaluation.sequences]
    for heading, figures in [*named, ("mean", evaluation.means)]:
        cells = [heading]
        for name in FIGURES:
            coded, restored = figures[f"lq_psnr_{name}"], figures[f"psnr_{name}"]
            gain = None if coded is None or restored is None else restored - coded
            cells += [number("psnr", restored), number("psnr", gain, signed=True)]
        rows.append(cells)
    return markdown(header, rows)


def _measure(
    restore: Restore, original: Path, coded: Path, options: VideoOptions
) -> SequenceRecord:
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
    figures = {
        f"{prefix}_{name}": _finite(getattr(measured, name))
        for prefix, measured in (("psnr", after), ("lq_psnr", before))
        for name in FIGURES
    }
    return SequenceRecord(original.stem, len(after.frames), figures)


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
