"""Writes .pth files that torch.load(weights_only=True) reads, without PyTorch.

The format is that of torch.save: a zip archive, nothing compressed, with a pickle (protocol 2)
that describes the tensors and one entry for each storage. The pickle is put together from its
opcodes, since the standard pickler can only name classes that it can import.
"""

import io
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from armoe_jax.convert.torch_records import STORAGE_DTYPES
from armoe_jax.runtime.files import written_beside

_STORAGE_CLASSES = {dtype: name for name, dtype in STORAGE_DTYPES.items()}
_ROOT = "archive"
_FORMAT_VERSION = b"3\n"
_ALIGNMENT = 64  # of storages in the file, so that they can be mapped into memory
_LOCAL_HEADER_BYTES = 30
_PADDING_TAG = b"FB"


def write_torch(path: Path, tensors: Mapping[str, np.ndarray], *, overwrite: bool = False) -> None:
    """Writes {"params": OrderedDict of tensors}, atomically.

    Equal input gives equal bytes: no times, no names of files. An array that occurs under
    several names is stored once.

    Args:
        path: File to write.
        tensors: Arrays by name, in the order of the file; they need not be contiguous.
        overwrite: Whether an existing file may be replaced.

    Raises:
        FileExistsError: The file exists and may not be replaced.
        ValueError: An array has an element type that is not supported.
    """
    for name, array in tensors.items():
        if array.dtype.name not in _STORAGE_CLASSES:
            raise ValueError(
                f"{name} has the type {array.dtype}; supported are {sorted(_STORAGE_CLASSES)}"
            )
    storages = {key: array for array, key in _keyed(tensors).values()}
    with (
        written_beside(path, overwrite=overwrite) as new,
        new.open("wb") as file,
        zipfile.ZipFile(file, "w") as archive,
    ):
        _write_entry(archive, file, "data.pkl", b"".join(_pickle(tensors)))
        _write_entry(archive, file, "byteorder", b"little")
        for key, array in storages.items():
            _write_entry(archive, file, f"data/{key}", _bytes(array))
        _write_entry(archive, file, "version", _FORMAT_VERSION)


def _keyed(tensors: Mapping[str, np.ndarray]) -> dict[int, tuple[np.ndarray, str]]:
    """Numbers the different arrays; they are told apart by identity, not by value."""
    keyed: dict[int, tuple[np.ndarray, str]] = {}
    for array in tensors.values():
        keyed.setdefault(id(array), (array, str(len(keyed))))
    return keyed


def _bytes(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), order="C", copy=False).tobytes()


def _write_entry(archive: zipfile.ZipFile, file: io.BufferedWriter, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(f"{_ROOT}/{name}")  # dated 1980, the format's zero
    start = file.tell() + _LOCAL_HEADER_BYTES + len(entry.filename) + 4
    padding = -start % _ALIGNMENT
    entry.extra = struct.pack("<2sH", _PADDING_TAG, padding) + b"\0" * padding
    archive.writestr(entry, data)


def _pickle(tensors: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    """Yields the opcodes of {"params": OrderedDict([(name, tensor), ...])}."""
    keyed = _keyed(tensors)
    yield pickle.PROTO + b"\x02" + pickle.EMPTY_DICT
    yield from (_string("params"), *_empty_ordered_dict(), pickle.MARK)
    for name, array in tensors.items():
        yield _string(name)
        yield from _tensor(array, keyed[id(array)][1])
    yield pickle.SETITEMS + pickle.SETITEM + pickle.STOP


def _tensor(array: np.ndarray, key: str) -> Iterator[bytes]:
    """Yields the call _rebuild_tensor_v2(storage, 0, shape, stride, requires_grad, hooks)."""
    contiguous_stride = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
    yield _global("torch._utils", "_rebuild_tensor_v2") + pickle.MARK
    yield from _storage(array, key)
    yield _integer(0)
    yield from _tuple(array.shape)
    yield from _tuple(contiguous_stride)
    yield pickle.NEWFALSE
    yield from _empty_ordered_dict()
    yield pickle.TUPLE + pickle.REDUCE


def _storage(array: np.ndarray, key: str) -> Iterator[bytes]:
    """Yields the persistent id ("storage", class, key, device, length)."""
    yield pickle.MARK + _string("storage")
    yield _global("torch", _STORAGE_CLASSES[array.dtype.name])
    yield _string(key) + _string("cpu") + _integer(array.size)
    yield pickle.TUPLE + pickle.BINPERSID


def _empty_ordered_dict() -> Iterator[bytes]:
    yield _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE


def _tuple(values: tuple[int, ...] | list[int]) -> Iterator[bytes]:
    yield pickle.MARK
    for value in values:
        yield _integer(value)
    yield pickle.TUPLE


def _string(text: str) -> bytes:
    data = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def _integer(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode("ascii")
