"""The two file formats of torch.save: a zip archive (since 2020), and pickles in a row before.

Both hold a pickle with records of tensors and, outside it, the storages' bytes. Opening reads
the pickle only; bytes are read storage by storage on request.
"""

import io
import mmap
import re
import struct
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import ml_dtypes
import numpy as np
from jaxtyping import Shaped

from armoe_jax.convert import torch_pickle
from armoe_jax.convert.torch_records import Storage, quote

MAX_ENTRIES = 100_000
"""Most entries of an archive that is read; the full network has about 4,000 tensors."""

# What the standard library raises at wrong sizes, positions (OSError, OverflowError), checksums,
# and at a compression that it does not know (NotImplementedError).
_ZIP_ERRORS = (
    zipfile.BadZipFile, EOFError, NotImplementedError, OSError, OverflowError, struct.error
)  # fmt: skip
ZIP_MAGIC = b"PK\x03\x04"
_CENTRAL_ENTRY = re.compile(rb"PK\x01\x02")
# The first pickle of torch.save's old format is this number, the second is the version.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
# What pickles begin with: the protocol's number; before protocol 2 a name, a mark or a dict.
_PICKLE_START = re.compile(rb"\x80[\x00-\x05]|c[\w.]+\n[\w.]+\n|[(}]")


def dtype_of(storage: Storage) -> np.dtype:
    """Returns the NumPy type of a storage's elements (bfloat16 comes from ml_dtypes)."""
    if storage.dtype == "bfloat16":
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(storage.dtype).newbyteorder("<")


def _mapped(file: io.BufferedReader) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@contextmanager
def _open_zip(file: io.BufferedReader) -> Generator[zipfile.ZipFile]:
    # Every entry of the directory begins with this mark, so that counting marks bounds what
    # opening the archive costs, before it is opened.
    with _mapped(file) as mapped:
        for count, _ in enumerate(_CENTRAL_ENTRY.finditer(mapped)):
            if count >= MAX_ENTRIES:
                raise ValueError(f"its archive has more than {MAX_ENTRIES} entries")
    try:
        archive = zipfile.ZipFile(file)
    except (*_ZIP_ERRORS, ValueError) as error:
        raise ValueError(f"its zip archive is truncated or damaged ({error})") from error
    with archive:
        yield archive


class ZipContainer:
    """ROOT/data.pkl, ROOT/byteorder and one entry ROOT/data/KEY for each storage, all stored."""

    def __init__(self, archive: zipfile.ZipFile, size: int):
        self._archive = archive
        self._entries = _checked_entries(archive, size)
        self._root = self._find_root()
        order = f"{self._root}/byteorder"
        if order in self._entries and self._read_entry(order) != b"little":
            raise ValueError("it was written on a big-endian machine, which is not supported")
        data = self._read_entry(f"{self._root}/data.pkl")
        self.contents, _ = torch_pickle.load(io.BytesIO(data))

    def read(self, storage: Storage) -> Shaped[np.ndarray, " n"]:
        """Returns the elements of a storage, read-only."""
        name = f"{self._root}/data/{storage.key}"
        if name not in self._entries:
            raise ValueError(f"its archive lacks the entry {name}")
        declared = storage.num_elements * dtype_of(storage).itemsize
        if declared != self._entries[name].file_size:
            raise ValueError(
                f"its entry {name} has {self._entries[name].file_size} bytes, but the pickle "
                f"declares {storage.num_elements} elements of {storage.dtype} ({declared} bytes)"
            )
        return np.frombuffer(self._read_entry(name), dtype_of(storage))

    def _find_root(self) -> str:
        roots = [name.removesuffix("/data.pkl") for name in self._entries if _is_pickle(name)]
        if len(roots) != 1:
            raise ValueError(
                f"its archive has {len(roots)} entries ROOT/data.pkl, not 1: no file of torch.save"
            )
        return roots[0]

    def _read_entry(self, name: str) -> bytes:
        entry = self._entries[name]
        if name.endswith("/data.pkl") and entry.file_size > torch_pickle.MAX_PICKLE_BYTES:
            raise ValueError(f"its pickle is longer than {torch_pickle.MAX_PICKLE_BYTES} bytes")
        if entry.CRC == 0:
            del entry.CRC  # torch.save can leave checksums out; zipfile then has none to compare
        try:
            return self._archive.read(entry)
        except _ZIP_ERRORS as error:
            raise ValueError(f"its entry {name} is damaged ({error})") from error


def _is_pickle(name: str) -> bool:
    return name.count("/") == 1 and name.endswith("/data.pkl")


def _checked_entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Returns the entries by name, if they can be what torch.save writes: stored, not packed.

    Stored entries cannot unpack to more than the file holds, unless they overlap.
    """
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise ValueError(
                f"its entry {entry.filename} is compressed ({entry.compress_size} bytes that "
                f"unpack to {entry.file_size}); torch.save never compresses"
            )
        if entry.flag_bits & 1:
            raise ValueError(f"its entry {entry.filename} is encrypted")
        if entry.filename in entries:
            raise ValueError(f"its archive has two entries {entry.filename}")
        entries[entry.filename] = entry
    total = sum(entry.file_size for entry in entries.values())
    if total > size:
        raise ValueError(f"its entries declare {total} bytes in a file of {size}")
    return entries


class LegacyContainer:
    """Five pickles: magic, version, machine, contents, keys. Then length and bytes of each key."""

    def __init__(self, file: io.BufferedReader):
        self._file = file
        with _mapped(file) as mapped:
            self._read_pickles(mapped)

    def _read_pickles(self, mapped: mmap.mmap) -> None:
        magic, _ = torch_pickle.load(mapped)
        if magic != LEGACY_MAGIC:
            raise ValueError(_wrong_magic(mapped[:8]))
        version, _ = torch_pickle.load(mapped)
        if version != LEGACY_VERSION:
            raise ValueError(f"its format has version {quote(version)}; {LEGACY_VERSION} is read")
        machine, _ = torch_pickle.load(mapped)
        if not isinstance(machine, dict) or cast(Any, machine).get("little_endian") is not True:
            raise ValueError("it was written on a big-endian machine, which is not supported")
        self.contents, storages = torch_pickle.load(mapped)
        keys, _ = torch_pickle.load(mapped)
        self._offsets = _locate_storages(mapped, keys, storages)

    def read(self, storage: Storage) -> Shaped[np.ndarray, " n"]:
        """Returns the elements of a storage, read-only."""
        offset = self._offsets.get(storage.key)
        if offset is None:
            raise ValueError(f"it lacks the storage {storage.key!r}")
        self._file.seek(offset)
        data = self._file.read(storage.num_elements * dtype_of(storage).itemsize)
        return np.frombuffer(data, dtype_of(storage))


def _wrong_magic(head: bytes) -> str:
    return (
        f"it starts with {head[:8]!r}, so it is no file of torch.save (neither the zip format nor "
        "the older one)"
    )


def _locate_storages(
    mapped: mmap.mmap, keys: object, storages: dict[str, Storage]
) -> dict[str, int]:
    """Returns where the bytes of each storage begin."""
    keys = cast(list[Any], keys) if isinstance(keys, list) else []
    if not all(isinstance(key, str) for key in keys) or sorted(storages) != sorted(keys):
        raise ValueError("its list of storages is not that of its tensors")
    offsets: dict[str, int] = {}
    position = mapped.tell()
    for key in keys:
        storage = storages[key]
        start = position + 8
        position = start + storage.num_elements * dtype_of(storage).itemsize
        if position > len(mapped):
            raise ValueError(
                f"it is truncated: storage {key!r} ends at byte {position} of {len(mapped)}"
            )
        (stored,) = struct.unpack_from("<q", mapped, start - 8)
        if stored != storage.num_elements:
            raise ValueError(
                f"its storage {key!r} has {stored} elements, but the pickle declares "
                f"{storage.num_elements}"
            )
        offsets[key] = start
    return offsets


Container = ZipContainer | LegacyContainer
"""An open .pth file: `contents`, with `TensorRecord` in place of tensors, and `read(storage)`."""


@contextmanager
def open_container(path: Path) -> Generator[Container]:
    """Opens a .pth file of either format.

    Raises:
        ValueError: It is neither, is damaged, or holds something else than tensors. Messages do
            not name the file; the caller does.
    """
    with path.open("rb") as file:
        head = file.read(256)
        if not head:
            raise ValueError("it is empty (0 bytes)")
        if head.startswith(ZIP_MAGIC):
            with _open_zip(file) as archive:
                yield ZipContainer(archive, size=path.stat().st_size)
        elif _PICKLE_START.match(head):
            yield LegacyContainer(file)
        else:
            raise ValueError(_wrong_magic(head))
