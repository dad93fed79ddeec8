"""The manifest of a built tree, and the records it is put together from.

A tree is a folder with `gt/`, `lq/`, `bitstreams/` and `manifest.json`. While it is being built,
each finished image has one small file in `.records/`: whoever builds (processes of one machine or
of many) needs no common journal, and a build that was killed continues from what is there.
"""

import contextlib
import dataclasses
import hashlib
import reprlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from armoe_jax.runtime.json_files import is_integer, is_number, read_json, write_json
from input_pipeline.codecs import CODECS, CodecOptions, get_codec

MANIFEST = "manifest.json"
FORMAT = 1
PARTS = ("gt", "lq", "bitstreams")

Record = dict[str, Any]
"""Of one image: name, qp, width, height, bits, bpp, psnr_y, ssim_y, checksums."""


@dataclasses.dataclass(frozen=True)
class Tree:
    """One folder of pairs: a codec at one quality.

    Attributes:
        folder: Where it is built.
        codec: Key of the table `CODECS`.
        quality: QP, or quality for JPEG.
        options: Of the codec.
        halve: Which sources are reduced by two before coding: "none", "jpeg" or "all".
    """

    folder: Path
    codec: str
    quality: int
    options: CodecOptions = dataclasses.field(default_factory=CodecOptions)
    halve: str = "none"

    @property
    def records(self) -> Path:
        """Folder of the records of an unfinished build."""
        return self.folder / ".records"

    def header(self) -> dict[str, Any]:
        """Returns what the manifest says about the whole tree."""
        codec = get_codec(self.codec, self.options)
        codec.check_quality(self.quality)
        return {
            "format": FORMAT,
            "codec": self.codec,
            "version": codec.version,
            "settings": codec.settings,
            "colors": self.options.colors,
            "qp": self.quality,
            "halved_sources": self.halve,
        }


def tree_name(codec: str, quality: int) -> str:
    """Returns the relative folder of a tree among several, such as "vvc/qp27"."""
    return f"{codec}/{CODECS[codec].quality_name}{quality}"


def pixel_checksum(image: np.ndarray) -> str:
    """Returns the SHA-256 of an image's samples in row order; independent of the file format."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def load_manifest(folder: str | Path) -> dict[str, Any]:
    """Reads the manifest of a tree.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged or of another format.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; build it: armoe-jax build-dataset --source DIR --codec vvc "
            "--qp 27 --out DIR"
        )
    try:
        manifest = read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}; delete it and build again") from None
    if not isinstance(manifest, dict) or cast(Record, manifest).get("format") != FORMAT:
        raise ValueError(f"{path} is not a manifest of format {FORMAT}; build the tree again")
    manifest = cast(Record, manifest)
    if why := _fault(manifest):
        raise ValueError(f"{path} is damaged: {why}; delete it and build again")
    return manifest


def _fault(manifest: dict[str, Any]) -> str | None:
    """Returns what keeps a manifest from being used, or None."""
    codec = manifest.get("codec")
    if not isinstance(codec, str) or codec not in CODECS:
        return f"codec is {reprlib.repr(codec)}, not one of {tuple(CODECS)}"
    images = manifest.get("images")
    if not isinstance(images, list):
        return "images is no list"
    faults = (_field_fault(image, _IMAGE_FIELDS) for image in cast(list[Any], images))
    return _field_fault(manifest, _TREE_FIELDS) or next(filter(None, faults), None)


def _field_fault(record: Any, fields: Mapping[str, Callable[[Any], bool]]) -> str | None:
    if not isinstance(record, dict):
        return f"{reprlib.repr(record)} is no record of an image"
    record = cast(Record, record)
    return next(
        (
            f"{name} is {reprlib.repr(record.get(name))}"
            for name, fits in fields.items()
            if not fits(record.get(name))
        ),
        None,
    )


def _is_figure(value: Any) -> bool:
    return value is None or is_number(value)  # null is an infinite PSNR


def _is_stem(value: Any) -> bool:
    """Tells names that lead to a file of the tree, not out of it."""
    return isinstance(value, str) and value != "" and not set(value) & set("/\\\0")


_TREE_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "qp": is_integer,
    "colors": lambda value: isinstance(value, str),
    "version": lambda value: isinstance(value, str),
    "settings": lambda value: isinstance(value, dict),
}
_IMAGE_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "name": _is_stem,
    **dict.fromkeys(("qp", "width", "height", "bits"), is_integer),
    **dict.fromkeys(("bpp", "psnr_y", "ssim_y"), _is_figure),
    "checksums": lambda value: isinstance(value, dict),
}


def start(tree: Tree) -> dict[str, Record]:
    """Makes a tree's folders and returns the records of the images that it already holds.

    Raises:
        ValueError: If the folder was built with other settings.
    """
    header = tree.header()
    for part in PARTS:
        (tree.folder / part).mkdir(parents=True, exist_ok=True)
    finished: dict[str, Record] = {}
    if (tree.folder / MANIFEST).is_file():
        manifest = load_manifest(tree.folder)
        finished = {record["name"]: record for record in manifest.pop("images")}
        _refuse_other_settings(tree.folder, manifest, header)
    tree.records.mkdir(exist_ok=True)
    stored_header = tree.records / "header"
    # An empty one is what a crash left of it before it was written; it says nothing.
    if stored_header.is_file() and stored_header.stat().st_size:
        _refuse_other_settings(tree.folder, read_json(stored_header), header)
    else:
        _write(stored_header, header)
    return {**finished, **read_records(tree)}


def read_records(tree: Tree) -> dict[str, Record]:
    """Returns the records of an unfinished build by name.

    A record that cannot be used is as none: its image is coded again.
    """
    records: dict[str, Record] = {}
    for path in sorted(tree.records.glob("*.json")):
        with contextlib.suppress(ValueError):
            record = read_json(path)
            if _field_fault(record, _IMAGE_FIELDS) is None:
                records[record["name"]] = record
    return records


def add_record(tree: Tree, record: Record) -> None:
    """Notes that an image is finished; its files must be in place."""
    _write(tree.records / f"{record['name']}.json", record)


def finish(tree: Tree, records: list[Record]) -> None:
    """Writes the manifest and removes the single records."""
    manifest = {**tree.header(), "images": sorted(records, key=lambda record: record["name"])}
    _write(tree.folder / MANIFEST, manifest)
    shutil.rmtree(tree.records, ignore_errors=True)


def _write(path: Path, value: dict[str, Any]) -> None:
    write_json(path, value, indent=1, sort_keys=True)


def _refuse_other_settings(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if changed:
        seen = "; ".join(f"{key} was {old.get(key)!r}, is {new.get(key)!r}" for key in changed)
        raise ValueError(
            f"{folder} was built with other settings ({seen}); "
            "choose another --out, delete it, or use the old settings"
        )
