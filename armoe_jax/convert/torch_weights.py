"""State dicts out of .pth files, as NumPy arrays."""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from armoe_jax.convert.torch_containers import Container, dtype_of, open_container
from armoe_jax.convert.torch_records import TensorRecord, quote

KEYS = ("auto", "params", "params_ema")
"""Which weights of a file: "auto" is the moving average if present, else the raw ones."""

MAX_TENSORS = 100_000
MAX_TENSOR_BYTES = 2**30
"""Most that the chosen state dict may declare; the full network has 0.2 GB with its buffers."""

_DISTRIBUTED_PREFIX = "module."


class StateDict(NamedTuple):
    """Tensors of one file.

    Attributes:
        tensors: Arrays by name, in the file's order; read-only views where storages are shared.
        key: The entry that they were under, None if the file is a bare state dict.
    """

    tensors: dict[str, np.ndarray]
    key: str | None


def read_torch(path: Path, key: str = "auto") -> StateDict:
    """Reads the state dict of a .pth file; needs no PyTorch and runs nothing from the file.

    Args:
        path: File in either format of torch.save: {"params": ...}, {"params_ema": ...}, both, or
            a bare state dict. The prefix "module." of distributed training is taken off.
        key: One of `KEYS`.

    Raises:
        ValueError: The file is not such a file, is damaged, or lacks the key. One line.
    """
    if key not in KEYS:
        raise ValueError(f"key={key!r} is not one of {KEYS}")
    try:
        with open_container(path) as container:
            chosen, records = _choose(container.contents, key)
            return StateDict(strip_prefix(_read_tensors(container, records)), chosen)
    except (ValueError, MemoryError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error


def strip_prefix(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Takes off the "module." that distributed training puts before every name."""
    if tensors and all(name.startswith(_DISTRIBUTED_PREFIX) for name in tensors):
        return {name.removeprefix(_DISTRIBUTED_PREFIX): t for name, t in tensors.items()}
    return dict(tensors)


def _choose(contents: object, key: str) -> tuple[str | None, dict[str, TensorRecord]]:
    if not isinstance(contents, dict):
        raise ValueError(f"it holds a {type(contents).__name__}, not a state dict")
    contents = cast(dict[Any, object], contents)
    candidates = ("params_ema", "params") if key == "auto" else (key,)
    for candidate in candidates:
        if candidate in contents:
            return candidate, _check_records(contents[candidate], f"its entry {candidate!r}")
    if key != "auto":
        raise ValueError(f"it has no entry {key!r}; its entries are {_some(contents)}")
    return None, _check_records(contents, "it")


def _check_records(state: object, where: str) -> dict[str, TensorRecord]:
    if not isinstance(state, dict) or not state:
        raise ValueError(f"{where} is no state dict: no dict with tensors")
    state = cast(dict[Any, Any], state)
    if len(state) > MAX_TENSORS:
        raise ValueError(f"{where} has {len(state)} tensors; {MAX_TENSORS} are allowed")
    others = [
        name
        for name, value in state.items()
        if not (isinstance(name, str) and isinstance(value, TensorRecord))
    ]
    if others:
        raise ValueError(
            f"{where} is no state dict: {_some(others)} are no tensors "
            "(expected: 'params_ema', 'params', or names with tensors only)"
        )
    records = cast(dict[str, TensorRecord], state)
    num_bytes = sum(r.num_elements * dtype_of(r.storage).itemsize for r in records.values())
    if num_bytes > MAX_TENSOR_BYTES:
        raise ValueError(f"{where} declares {num_bytes} bytes; {MAX_TENSOR_BYTES} are allowed")
    return records


def _read_tensors(
    container: Container, records: Mapping[str, TensorRecord]
) -> dict[str, np.ndarray]:
    """Makes the tensors as views, so that shared storages are held once."""
    storages: dict[str, np.ndarray] = {}
    tensors: dict[str, np.ndarray] = {}
    for name, record in records.items():
        if record.storage.key not in storages:
            storages[record.storage.key] = container.read(record.storage)
        tensors[name] = _view(storages[record.storage.key], record)
    return tensors


def _view(elements: np.ndarray, record: TensorRecord) -> np.ndarray:
    # The record's bounds were checked when it was made.
    strides = [step * elements.itemsize for step in record.stride]
    if record.num_elements == 0:
        return np.zeros(record.shape, elements.dtype)
    return np.lib.stride_tricks.as_strided(
        elements[record.offset :], record.shape, strides, writeable=False
    )


def _some(names: Iterable[object]) -> str:
    first = list(itertools.islice(names, 9))
    return f"{', '.join(map(quote, first[:8]))}{' and more' if len(first) > 8 else ''}"
