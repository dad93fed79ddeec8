"""Gathers what a report needs to know about evaluations: figures, rates, folders of pictures.

A run is the record that `armoe-jax evaluate --json` writes, or a folder that holds one (the working
directory of a training run does, as evaluation.json). Besides the figures of
`armoe_jax.evaluation.pairs.evaluate_pairs` a record may have, all optional:

    label, codec: str; qp: int                              of the whole
    expert_names: [str, ...]                                what the indices in "expert" mean
    gt_dir, lq_dir, restored_dir: str                       folders, relative to the record's
    images[].bpp: float; images[].expert: [int, ...]        rate; chosen expert of each layer

Any further number of an image becomes a column of the table. What the record lacks may be given
as keywords, or is found beside the inputs: a tree of `armoe-jax build-dataset` has gt/, lq/ and
manifest.json (rates) side by side.
"""

import dataclasses
import reprlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from armoe_jax.evaluation.record import mean, quality_name
from armoe_jax.images.io import FORMATS
from armoe_jax.runtime.json_files import is_number, read_json

RECORD_NAME = "evaluation.json"
MANIFEST_NAME = "manifest.json"
MAX_EXPERTS = 1000
_RESTORED_FOLDER = "restored"
_FOLDER_FIELDS = ("gt_dir", "lq_dir", "restored_dir")


@dataclasses.dataclass(frozen=True)
class Run:
    """One evaluation, as a page shows it.

    No `Evaluation`: a record may come from other programs, with other figures for each image.

    Attributes:
        label: Heading, unique in a report.
        rows: Figures of each image: name -> value; None where there is none.
        means: The same for the mean over images.
        expert_names: Names of the experts, or ().
        experts: Image name -> chosen expert of each layer.
        folders: "lq", "restored", "gt" -> folder, where known.
        codec: Name of the codec, or "".
        qp: Its quality parameter, or None.
        published: The paper's row, with its condition, or None.
    """

    label: str
    rows: dict[str, dict[str, float | None]]
    means: dict[str, float | None]
    expert_names: tuple[str, ...] = ()
    experts: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    folders: dict[str, Path] = dataclasses.field(default_factory=dict)
    codec: str = ""
    qp: int | None = None
    published: dict[str, Any] | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the figures that any image has, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows.values() for name in row))

    def picture(self, kind: str, name: str) -> Path | None:
        """Returns the file of an image, or None.

        Args:
            kind: "lq", "restored" or "gt".
            name: The image's stem.
        """
        folder = self.folders.get(kind)
        candidates = (folder / f"{name}{suffix}" for suffix in FORMATS) if folder else ()
        return next((path for path in candidates if path.is_file()), None)


def load_run(
    path: str | Path,
    *,
    label: str = "",
    gt: str | Path | None = None,
    lq: str | Path | None = None,
    restored: str | Path | None = None,
    manifest: str | Path | None = None,
) -> Run:
    """Reads a run.

    Args:
        path: A record, or a folder that holds one.
        label: Heading; by default the record's, or codec and QP, or the name of the file.
        gt: Folder of originals.
        lq: Folder of coded images.
        restored: Folder of restored images.
        manifest: Manifest of a built tree, for the rates.

    Raises:
        FileNotFoundError: If there is no record, or a given folder does not exist.
        ValueError: If the record is not that of an evaluation.
    """
    file = _find_record(Path(path))
    record = _read_record(file)
    given = {"gt": gt, "lq": lq, "restored": restored}
    folders = _folders(file, record, given)
    coded = _read_manifest(manifest, folders.get("lq"))
    rates = {row["name"]: row for row in coded.get("images", [])}
    rows, experts = {}, {}
    for image in record["images"]:
        name = image["name"]
        rows[name] = _numbers(image)
        if rows[name].get("bpp") is None and "bpp" in rates.get(name, {}):
            rows[name]["bpp"] = rates[name]["bpp"]
        if "expert" in image:
            experts[name] = [int(index) for index in image["expert"]]
    qps = {row.get("qp") for row in rates.values()} if rates else {record.get("qp")}
    qp = qps.pop() if len(qps) == 1 else None
    codec = record.get("codec") or coded.get("codec") or ""
    parts = [codec.upper(), f"{quality_name(codec)} {qp:g}" if qp is not None else ""]
    return Run(
        label=label or record.get("label") or " ".join(filter(None, parts)) or file.stem,
        rows=rows,
        means=_means(record, rows),
        expert_names=tuple(record.get("expert_names", ())),
        experts=experts,
        folders=folders,
        codec=codec,
        qp=qp,
        published=record.get("published"),
    )


def unique_labels(runs: list[Run]) -> list[Run]:
    """Returns the runs with labels that differ: repeated ones are numbered."""
    seen: dict[str, int] = {}
    out = []
    for run in runs:
        seen[run.label] = number = seen.get(run.label, 0) + 1
        out.append(
            dataclasses.replace(run, label=f"{run.label} ({number})" if number > 1 else run.label)
        )
    return out


def _find_record(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such evaluation (a .json file or its folder)")
    if (path / RECORD_NAME).is_file():
        return path / RECORD_NAME
    records = [file for file in sorted(path.glob("*.json")) if _is_record(file)]
    if len(records) != 1:
        raise FileNotFoundError(
            f"{path}: holds {len(records)} evaluations, expected one (or {RECORD_NAME}); "
            "write one with armoe-jax evaluate --json"
        )
    return records[0]


def _is_record(path: Path) -> bool:
    try:
        _read_record(path)
    except (ValueError, OSError):
        return False
    return True


def _read_record(path: Path) -> dict[str, Any]:
    record = read_json(path)
    images = record.get("images") if isinstance(record, dict) else None
    if not (isinstance(images, list) and images and all(_is_row(row) for row in images)):
        raise ValueError(
            f"{path}: not an evaluation: expected 'images', a list of records with 'name' and "
            "'psnr_y', as armoe-jax evaluate --json writes"
        )
    _check_fields(path, record, ("label", "codec", *_FOLDER_FIELDS), _is_text)
    _check_fields(path, record, ("qp",), is_number)
    _check_fields(path, record, ("published",), _is_object)
    _check_fields(path, record.get("published") or {}, ("psnr_y",), is_number)
    _check_experts(path, record)
    return record


def _is_named(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("name"), str)


def _is_row(row: Any) -> bool:
    return _is_named(row) and "psnr_y" in row


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _check_fields(
    path: Path, record: Mapping[str, Any], names: Iterable[str], fits: Callable[[Any], bool]
) -> None:
    """Checks optional fields."""
    for name in names:
        if record.get(name) is not None and not fits(record[name]):
            raise ValueError(f"{path}: {name!r} is {reprlib.repr(record[name])}")


def _check_experts(path: Path, record: Mapping[str, Any]) -> None:
    """Checks that the chosen experts of all images are a table of indices of their names."""
    names = record.get("expert_names", [])
    chosen = [row["expert"] for row in record["images"] if "expert" in row]
    limit = len(names) if isinstance(names, list) and names else MAX_EXPERTS
    ok = (
        isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and all(isinstance(row, list) and len(row) == len(chosen[0]) > 0 for row in chosen)
        and all(type(index) is int and 0 <= index < limit for row in chosen for index in row)
    )
    if not ok:
        raise ValueError(
            f"{path}: not an evaluation: 'expert' of an image is a list of indices of "
            "'expert_names', one for each layer"
        )


def _folders(
    file: Path, record: Mapping[str, Any], given: Mapping[str, str | Path | None]
) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for kind, folder in given.items():
        if folder is not None:
            if not Path(folder).is_dir():
                raise FileNotFoundError(f"{folder}: no such folder (of {kind} images)")
            folders[kind] = Path(folder)
        elif record.get(f"{kind}_dir"):
            folders[kind] = file.parent / record[f"{kind}_dir"]
        elif (file.parent / kind).is_dir():
            folders[kind] = file.parent / kind
    if "gt" not in folders and "lq" in folders and (folders["lq"].parent / "gt").is_dir():
        folders["gt"] = folders["lq"].parent / "gt"
    name = record["images"][0]["name"]
    beside = file.parent / _RESTORED_FOLDER
    if "restored" not in folders and not beside.is_dir() and (file.parent / f"{name}.png").exists():
        folders["restored"] = file.parent
    return folders


def _read_manifest(manifest: str | Path | None, lq: Path | None) -> dict[str, Any]:
    path = Path(manifest) if manifest else lq.parent / MANIFEST_NAME if lq else None
    if path is None or (not manifest and not path.is_file()):
        return {}
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such manifest")
    coded = read_json(path)
    rows = coded.get("images") if isinstance(coded, dict) else None
    named = isinstance(rows, list) and all(
        isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows
    )
    if not named:
        raise ValueError(
            f"{path}: not a manifest: expected 'images', a list of records with 'name'"
        )
    _check_fields(path, coded, ("codec",), _is_text)
    for row in coded["images"]:
        _check_fields(path, row, ("bpp", "qp"), is_number)
    return coded


def _numbers(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Returns the numbers of a record; what is not finite counts as missing."""
    out: dict[str, float | None] = {}
    for name, value in row.items():
        if value is None:
            out[name] = None
        elif isinstance(value, int | float) and not isinstance(value, bool):
            out[name] = float(value) if is_number(value) else None
    if "gain_psnr_y" not in out:
        out["gain_psnr_y"] = _gain(out, "psnr_y")
    return out


def _gain(row: Mapping[str, float | None], name: str) -> float | None:
    restored, coded = row.get(name), row.get(f"lq_{name}")
    return None if restored is None or coded is None else restored - coded


def _means(
    record: Mapping[str, Any], rows: Mapping[str, Mapping[str, float | None]]
) -> dict[str, float | None]:
    """Returns the record's means, and those it does not have; None if an image has no value."""
    means: dict[str, float | None] = {}
    for name in dict.fromkeys(name for row in rows.values() for name in row):
        stated = record.get(name)
        means[name] = (
            stated if isinstance(stated, float) else mean(row.get(name) for row in rows.values())
        )
    return means
