"""What the pickle of a PyTorch file is made of: storages and tensors, as records that are checked.

Records are tuples: no pickle can change them or anything that they hold.
"""

import reprlib
from typing import Any, NamedTuple, TypeGuard, cast

MAX_NAME_LENGTH = 1024
"""Longest key of a dict or storage, in characters: comparing keys must cost next to nothing."""

MAX_COUNT = 2**48
"""Largest size, stride or offset, in elements: what they say in bytes still fits 64 bits."""

MAX_AXES = 32

STORAGE_DTYPES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
"""Class in the module torch -> NumPy's name of its element type."""

_QUOTE = reprlib.Repr()
_QUOTE.maxlevel = 3
_QUOTE.maxtuple = _QUOTE.maxlist = _QUOTE.maxdict = 4
_QUOTE.maxstring = 120


def quote(value: object) -> str:
    """Returns a value out of a file as text of bounded length."""
    try:
        return _QUOTE.repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return f"a large {type(value).__name__}"


class RefusedError(ValueError):
    """The pickle has something that state dicts do not need."""


class StorageType(NamedTuple):
    """Stands for a storage class, such as torch.FloatStorage.

    Attributes:
        dtype: Element type, by NumPy's name.
    """

    dtype: str


class Storage(NamedTuple):
    """A flat block of elements, kept outside the pickle.

    Attributes:
        key: Its name in the file.
        dtype: Element type, by NumPy's name.
        num_elements: Its length.
    """

    key: str
    dtype: str
    num_elements: int


class TensorRecord(NamedTuple):
    """A tensor as the pickle describes it: a strided view of a storage (units: elements)."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def num_elements(self) -> int:
        """Product of the shape."""
        count = 1
        for size in self.shape:
            count *= size
        return count


def build_tensor(
    storage: object, offset: object, shape: object, stride: object, *_: object
) -> TensorRecord:
    """Checks and records the arguments of PyTorch's tensor constructors.

    What may follow them (requires_grad, hooks, metadata) does not concern the values.
    """
    if not isinstance(storage, Storage):
        raise RefusedError("a tensor in its pickle has no storage")
    if not (_is_count(offset) and _are_counts(shape) and _are_counts(stride)):
        raise RefusedError(
            f"a tensor in its pickle has offset {quote(offset)}, shape {quote(shape)}, stride "
            f"{quote(stride)}; integers from 0 to {MAX_COUNT} are needed, at most {MAX_AXES}"
        )
    record = TensorRecord(storage, offset, tuple(shape), tuple(stride))
    _check_bounds(record)
    return record


def build_parameter(data: object, *_: object) -> TensorRecord:
    """Returns the tensor that PyTorch would make a parameter of."""
    if not isinstance(data, TensorRecord):
        raise RefusedError("a parameter in its pickle holds no tensor")
    return data


def build_storage(pid: object) -> Storage:
    """Reads ("storage", class, key, device, length), in old files followed by a view or None."""
    # Cut: one long tuple could serve a million storages.
    fields = list(cast(tuple[Any, ...], pid)[:7]) if isinstance(pid, tuple) else []
    if len(fields) not in (5, 6) or fields[0] != "storage":
        raise RefusedError(
            f"its pickle has the persistent id {quote(cast(object, pid))}; a storage is needed"
        )
    _, kind, key, _, num_elements = fields[:5]
    if len(fields) == 6 and fields[5] is not None:
        raise RefusedError(
            f"storage {quote(key)} is a view of another one; save it with a newer torch"
        )
    if not (isinstance(kind, StorageType) and isinstance(key, str) and len(key) <= MAX_NAME_LENGTH):
        raise RefusedError(f"its pickle has a storage of kind {quote(kind)}, key {quote(key)}")
    if not _is_count(num_elements):
        raise RefusedError(f"storage {quote(key)} has length {quote(num_elements)}")
    return Storage(key, kind.dtype, num_elements)


def _check_bounds(record: TensorRecord) -> None:
    if len(record.shape) != len(record.stride):
        raise RefusedError(f"a tensor has shape {record.shape} but stride {record.stride}")
    if record.num_elements == 0:
        return
    steps = zip(record.shape, record.stride, strict=True)
    last = record.offset + sum((size - 1) * stride for size, stride in steps)
    if last >= record.storage.num_elements:
        raise RefusedError(
            f"a tensor of shape {record.shape}, stride {record.stride}, offset {record.offset} "
            f"reaches past the end of its storage {quote(record.storage.key)} of "
            f"{record.storage.num_elements} elements"
        )


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT


def _are_counts(values: object) -> TypeGuard[tuple[int, ...] | list[int]]:
    if not isinstance(values, (tuple, list)):
        return False
    counts = cast(list[Any], values)
    # The length comes first: one long tuple could serve a million tensors.
    return len(counts) <= MAX_AXES and all(_is_count(count) for count in counts)
