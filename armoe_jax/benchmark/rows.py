"""Reports of benchmarks: cases, printed rows, JSON files, and ratios between two of them."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from armoe_jax.runtime.json_files import parse_json

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Case:
    """What is measured; two rows of reports with equal cases may be compared.

    Attributes:
        model: Name of the network.
        mode: "infer" or "train".
        height: Rows of the input.
        width: Columns of the input.
        batch: Images at a time.
        dtype: Precision of matrix operands.
        scan: Whether blocks are scanned.
        dispatch: How training serves experts; None for inference.
        remat: Whether the backward pass recomputes whole blocks; None for inference.
        devices: Devices that the batch of a training step is split over; None for inference.
        fsdp: Whether the state is split over them, too; None for inference.
        expert: Name of the expert that all blocks are forced to, if any.
        tile: How a `Restorer` cuts images; None to run the network on arrays, without one.
        overlap: Pixels that its tiles share; None without one.
    """

    model: str
    mode: str
    height: int
    width: int
    batch: int
    dtype: str = "float32"
    scan: bool = True
    dispatch: str | None = None
    remat: bool | None = None
    devices: int | None = None
    fsdp: bool | None = None
    expert: str | None = None
    tile: str | int | None = None
    overlap: int | None = None


KEY = tuple(
    field.name for field in dataclasses.fields(Case) if field.default is dataclasses.MISSING
)
"""What a case must state: every row has these."""

FURTHER_KEY = tuple(field.name for field in dataclasses.fields(Case) if field.name not in KEY)
"""A row may have these; where both rows do, they must agree."""

RATIOS = {
    "seconds": "time",
    "compile_seconds": "compile time",
    "peak_memory_bytes": "peak memory",
    "temp_bytes": "XLA temporaries",
}
"""Compared where both rows have them."""

GIB = 2**30

HEADER = (
    "| case | seconds (min to max) | s/megapixel | products/megapixel | images/s | GFLOP/s "
    "| share of matmul | lower s | compile s | XLA temp GiB | peak GiB |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def describe_case(row: Row) -> str:
    """Returns a row's case in words, such as "car infer 128x128, batch 1, float32"."""
    text = f"{row['model']} {row['mode']} {row['height']}x{row['width']}, batch {row['batch']}"
    parts = [text, row.get("dtype"), row.get("dispatch")]
    parts += ["remat"] if row.get("remat") else []
    parts += ["unrolled"] if row.get("scan") is False else []
    parts += [f"{row['devices']} devices"] if (row.get("devices") or 1) > 1 else []
    parts += ["fsdp"] if row.get("fsdp") else []
    parts += [f"expert {row['expert']}"] if row.get("expert") else []
    parts += _describe_tiles(row.get("tile"), row.get("overlap"))
    return ", ".join(part for part in parts if part)


def _describe_tiles(tile: str | int | None, overlap: int | None) -> list[str]:
    if tile is None:
        return []
    if tile == "none":
        return ["restorer"]
    return [f"tile {tile}"] if tile == "released" else [f"tile {tile}, overlap {overlap}"]


def format_row(row: Row) -> str:
    """Returns a line of the Markdown table under `HEADER`."""
    cells = (
        describe_case(row),
        f"{row['seconds']:.3g} ({row['seconds_min']:.3g} to {row['seconds_max']:.3g})",
        f"{row['seconds_per_megapixel']:.3g}",
        f"{row['units_per_megapixel']:.3g}",
        f"{row['images_per_second']:.3g}",
        f"{row['gflop_per_second']:.0f}",
        f"{row['share_of_matmul']:.1%}",
        "-" if row["lower_seconds"] is None else f"{row['lower_seconds']:.1f}",
        f"{row['compile_seconds']:.1f}",
        f"{row['temp_bytes'] / GIB:.2f}",
        f"{row['peak_memory_bytes'] / GIB:.2f}",
    )
    return f"| {' | '.join(cells)} |"


def read_report(path: str | Path) -> list[Row]:
    """Returns the rows of a report; one made by another program needs `KEY` and "seconds" only.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a report.
    """
    try:
        rows = parse_json(Path(path).read_text(encoding="utf-8"))["rows"]
        for row in rows:
            missing = [name for name in (*KEY, "seconds") if name not in row]
            if missing:
                raise ValueError(f"a row has no {', '.join(missing)}")
    except (ValueError, KeyError, TypeError) as error:
        needed = ", ".join((*KEY, "seconds"))
        raise ValueError(
            f"{path} is not a benchmark report ({error}); expected JSON with a list 'rows' of "
            f"objects with {needed}, as --json writes it"
        ) from error
    return rows


def same_case(row: Row, other: Row) -> bool:
    """Tells whether two rows measure the same thing, as far as both say what they measure."""
    shared = [name for name in FURTHER_KEY if name in row and name in other]
    return all(row[name] == other[name] for name in (*KEY, *shared))


def compare(rows: Sequence[Row], others: Sequence[Row]) -> Iterator[str]:
    """Yields a line for each row: the other report's figures divided by this one's.

    So 3x means that this one takes a third of the time or memory. Where several rows of the other
    report match, the one that says most about its case counts.
    """
    for row in rows:
        matching = [other for other in others if same_case(row, other)]
        if not matching:
            yield f"{describe_case(row)}: no such row to compare with"
            continue
        other = max(matching, key=lambda match: sum(name in match for name in FURTHER_KEY))
        ratios = [
            f"{label} {_figure(name, other[name])} / {_figure(name, row[name])} = "
            f"{other[name] / row[name]:.2f}x"
            for name, label in RATIOS.items()
            if row.get(name) and other.get(name)
        ]
        yield f"{describe_case(row)}: {'; '.join(ratios)}"


def _figure(name: str, value: int | float) -> str:
    return f"{value / GIB:.2f} GiB" if name.endswith("_bytes") else f"{value:.3g} s"
