"""Caches of decoded images: one memory-mapped file, or ArrayRecord of pre-cut sub-images."""

import functools
import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from armoe_jax.runtime.files import remove_leftovers, write_atomically, written_beside
from armoe_jax.runtime.progress import Progress
from input_pipeline.example import Example, Image
from input_pipeline.sources import PairSource

_HEADER = struct.Struct("<8i")
"""Of an ArrayRecord element: lq height, width, gt height, width, channels, qp, codec, shared."""


class MappedPairs:
    """Decoded pairs in one file that is mapped into memory; workers share its pages.

    Args:
        path: Of the file of samples; the index lies beside it, with the suffix `.json`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._index: list[dict[str, Any]] = json.loads(path.with_suffix(".json").read_text())

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Example:
        entry = self._index[index]
        return Example(
            lq=self._image(*entry["lq"]),
            gt=self._image(*entry["gt"]),
            qp=entry["qp"],
            codec=entry["codec"],
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_index": self._index}

    def fingerprint(self) -> str:
        """See `PairSource.fingerprint`."""
        return self._path.stem

    @functools.cached_property
    def _samples(self) -> np.ndarray:
        # A plain array over the mapping: slices of np.memmap itself cost ten times as much.
        return np.asarray(np.memmap(self._path, np.uint8, "r"))

    def _image(self, offset: int, height: int, width: int, channels: int) -> Image:
        end = offset + height * width * channels
        return self._samples[offset:end].reshape(height, width, channels)


def map_into_memory(source: PairSource, folder: Path) -> MappedPairs:
    """Decodes all pairs into a file of the folder, once; equal images are stored once.

    Raises:
        OSError: If the disk is full.
    """
    path = _cache_path(source, folder, "decoded", ".bin")
    if not path.with_suffix(".json").is_file():
        index: list[dict[str, Any]] = []
        remove_leftovers(path.parent)
        with (
            written_beside(path) as new,
            new.open("wb") as file,
            Progress(len(source), "decoding") as progress,
        ):
            places: dict[bytes, tuple[int, ...]] = {}
            for number in range(len(source)):
                example = source[number]
                index.append(
                    {
                        "lq": _append(file, example.lq, places),
                        "gt": _append(file, example.gt, places),
                        "qp": example.qp,
                        "codec": example.codec,
                    }
                )
                progress.advance()
        write_atomically(path.with_suffix(".json"), json.dumps(index))
    return MappedPairs(path)


def _append(file: BinaryIO, image: Image, places: dict[bytes, tuple[int, ...]]) -> tuple[int, ...]:
    data = np.ascontiguousarray(image).tobytes()
    digest = hashlib.sha256(data).digest()
    if digest not in places:
        places[digest] = (file.tell(), *image.shape)
        file.write(data)
    return places[digest]


class ArrayRecordPairs:
    """Sub-images in an ArrayRecord file.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        return unpack(self._records[index])

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path}

    def fingerprint(self) -> str:
        """See `PairSource.fingerprint`."""
        return self._path.stem

    @functools.cached_property
    def _records(self) -> Any:
        from grain.sources import (  # pyright: ignore[reportMissingTypeStubs]
            ArrayRecordDataSource,
        )

        return ArrayRecordDataSource(str(self._path))


def cut_into_records(
    source: PairSource, folder: Path, *, size: int, step: int, scale: int
) -> ArrayRecordPairs:
    """Cuts all pairs into overlapping sub-images and stores them undecoded, once.

    Args:
        source: The pairs.
        folder: Of the cache.
        size: Side of a sub-image in lq pixels.
        step: Distance between sub-images.
        scale: Side of gt over side of lq.

    Raises:
        ModuleNotFoundError: If the package array_record is absent (it has no Windows wheel).
        OSError: If the disk is full.
    """
    from array_record.python.array_record_module import (
        ArrayRecordWriter,  # pyright: ignore[reportUnknownVariableType]
    )

    path = _cache_path(source, folder, f"cut{size}-{step}", ".array_record")
    if not path.is_file():
        remove_leftovers(path.parent)
        with written_beside(path) as new, Progress(len(source), "cutting") as progress:
            writer = cast(Any, ArrayRecordWriter)(str(new), "group_size:1,uncompressed")
            for number in range(len(source)):
                for part in cut(source[number], size, step, scale):
                    writer.write(pack(part))
                progress.advance()
            writer.close()
    return ArrayRecordPairs(path)


def cut(example: Example, size: int, step: int, scale: int) -> Iterator[Example]:
    """Yields the sub-images of a pair; the last in a row or column ends at the border."""
    height, width = example.lq.shape[:2]
    for top in starts(height, size, step):
        for left in starts(width, size, step):
            lq = example.lq[top : top + size, left : left + size]
            if example.lq is example.gt:
                yield Example(lq, lq, example.qp, example.codec)
                continue
            rows = slice(top * scale, (top + size) * scale)
            columns = slice(left * scale, (left + size) * scale)
            yield Example(lq, example.gt[rows, columns], example.qp, example.codec)


def starts(length: int, size: int, step: int) -> list[int]:
    """Returns where windows begin so that they cover a side; [0] if it is shorter than one."""
    if length <= size:
        return [0]
    positions = list(range(0, length - size + 1, step))
    if positions[-1] + size < length:
        positions.append(length - size)
    return positions


def pack(example: Example) -> bytes:
    """Returns a pair as bytes."""
    shared = example.lq is example.gt
    (height, width, channels), (gt_height, gt_width, _) = example.lq.shape, example.gt.shape
    header = _HEADER.pack(
        *(height, width, gt_height, gt_width, channels, example.qp, example.codec, shared)
    )
    return header + example.lq.tobytes() + (b"" if shared else example.gt.tobytes())


def unpack(record: bytes) -> Example:
    """Returns the pair in the bytes of `pack`, without copying its samples."""
    height, width, gt_height, gt_width, channels, qp, codec, shared = _HEADER.unpack_from(record)
    samples = np.frombuffer(record, np.uint8, offset=_HEADER.size)
    size = height * width * channels
    lq = samples[:size].reshape(height, width, channels)
    gt = lq if shared else samples[size:].reshape(gt_height, gt_width, channels)
    return Example(lq, gt, qp, codec)


def _cache_path(source: PairSource, folder: Path, kind: str, suffix: str) -> Path:
    return folder / "decoded" / f"{kind}-{source.fingerprint()[:16]}{suffix}"
