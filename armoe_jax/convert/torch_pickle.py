"""Reads the pickles of a PyTorch file without PyTorch, and without running what they name.

A pickle is a program: it may name any function of the installation and call it. Two gates keep
that out. `scan` walks the opcodes, without performing them, up to the pickle's end and refuses
every opcode and every name that a state dict does not need. `load` then unpickles with a table
of the few allowed names; none of them stands for real PyTorch code, they build the records
below. Records are tuples, so no pickle can change them or anything that they hold.
"""

import io
import mmap
import pickle
import pickletools
import reprlib
from collections.abc import Callable
from typing import Any, NamedTuple, cast

MAX_PICKLE_BYTES = 64 * 2**20
"""Longest pickle that is read; that of the full network with its buffers has 0.5 MB."""

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


# Values out of a file: written out in full, nested ones could fill the memory.
_short = reprlib.repr


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


def scan(stream: io.BytesIO | mmap.mmap) -> int:
    """Walks one pickle from the stream's position to its end without performing it.

    Args:
        stream: Positioned at the pickle's first byte; left behind its last one.

    Returns:
        The pickle's length in bytes.

    Raises:
        ValueError: It is truncated or too long, or has an opcode or a name that state dicts do
            not need; the message gives the name.
    """
    start = stream.tell()
    try:
        opcodes = pickletools.genops(cast(Any, stream))
        for index, (opcode, argument, position) in enumerate(opcodes):
            _check_opcode(opcode.name, argument, index)
            if (position or 0) - start > MAX_PICKLE_BYTES:
                raise _RefusedError(f"its pickle is longer than {MAX_PICKLE_BYTES} bytes")
    except _RefusedError:
        raise
    except Exception as error:
        raise ValueError(f"its pickle is damaged or truncated ({_one_line(error)})") from error
    return stream.tell() - start


def load(data: bytes) -> tuple[object, dict[str, Storage]]:
    """Unpickles one pickle that `scan` has accepted.

    Returns:
        The object, with dicts in place of ordered dicts and `TensorRecord` in place of tensors;
        and every storage that it names, by key.

    Raises:
        ValueError: A name is not allowed, or the pickle is not well-formed.
    """
    unpickler = _AllowListUnpickler(io.BytesIO(data))
    try:
        return unpickler.load(), unpickler.storages
    except _RefusedError:
        raise
    except Exception as error:
        raise ValueError(f"its pickle is not a state dict's ({_one_line(error)})") from error


class _RefusedError(ValueError):
    """Tells our own refusals from errors of the standard library while unpickling."""


class _StorageType(NamedTuple):
    """Stands for a storage class, such as torch.FloatStorage."""

    dtype: str


class _Builder(NamedTuple):
    """Stands for a function that a pickle may call; a tuple, hence not to be altered by it."""

    build: Callable[..., object]

    def __call__(self, *args: object) -> object:
        return self.build(*args)


class _Entries(dict[Any, Any]):
    """Stands for OrderedDict; drops attributes (PyTorch notes the modules' versions there)."""

    def __setstate__(self, state: object) -> None:
        pass


def _build_tensor(
    storage: object, offset: object, shape: object, stride: object, *_: object
) -> TensorRecord:
    """Checks and records the arguments of PyTorch's tensor constructors.

    What may follow them (requires_grad, hooks, metadata) does not concern the values.
    """
    if not isinstance(storage, Storage):
        raise _RefusedError("a tensor in its pickle has no storage")
    if not (_is_count(offset) and _are_counts(shape) and _are_counts(stride)):
        raise _RefusedError(
            f"a tensor in its pickle has offset {_short(offset)}, shape {_short(shape)}, stride "
            f"{_short(stride)}; integers of 0 or more are needed"
        )
    record = TensorRecord(storage, offset, tuple(shape), tuple(stride))  # type: ignore[arg-type]
    _check_bounds(record)
    return record


def _check_bounds(record: TensorRecord) -> None:
    if len(record.shape) != len(record.stride) or len(record.shape) > 32:
        raise _RefusedError(f"a tensor has shape {record.shape} but stride {record.stride}")
    if record.num_elements == 0:
        return
    steps = zip(record.shape, record.stride, strict=True)
    last = record.offset + sum((size - 1) * stride for size, stride in steps)
    if last >= record.storage.num_elements:
        raise _RefusedError(
            f"a tensor of shape {record.shape}, stride {record.stride}, offset {record.offset} "
            f"reaches past the end of its storage {record.storage.key!r} of "
            f"{record.storage.num_elements} elements"
        )


def _build_parameter(data: object, *_: object) -> TensorRecord:
    if not isinstance(data, TensorRecord):
        raise _RefusedError("a parameter in its pickle holds no tensor")
    return data


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_counts(values: object) -> bool:
    if not isinstance(values, (tuple, list)):
        return False
    return all(_is_count(value) for value in cast(list[Any], values))


_ALLOWED_NAMES: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): _Entries,
    ("torch._utils", "_rebuild_tensor"): _Builder(_build_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Builder(_build_tensor),
    ("torch._utils", "_rebuild_parameter"): _Builder(_build_parameter),
    **{("torch", name): _StorageType(dtype) for name, dtype in STORAGE_DTYPES.items()},
}

_OPCODE_NAMES = """
    PROTO FRAME STOP MARK MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET POP POP_MARK
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8
    SHORT_BINBYTES BINBYTES
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS
    EMPTY_DICT DICT SETITEM SETITEMS GLOBAL STACK_GLOBAL REDUCE BUILD BINPERSID
"""
_ALLOWED_OPCODES = frozenset(_OPCODE_NAMES.split())
"""Plain values, containers, the memo, and what tensors and ordered dicts are made with."""


_PUTS = frozenset(["PUT", "BINPUT", "LONG_BINPUT"])


def _check_opcode(opcode: str, argument: object, index: int) -> None:
    if opcode not in _ALLOWED_OPCODES:
        what = "" if argument is None else f" {str(argument).replace(' ', '.')!r}"
        raise _RefusedError(
            f"its pickle uses the opcode {opcode}{what}, which state dicts do not need"
        )
    if opcode == "GLOBAL":
        module, _, name = str(argument).partition(" ")
        _look_up(module, name)
    # The memo is an array as long as the largest index: an honest pickle counts up from 0.
    if opcode in _PUTS and isinstance(argument, int) and argument > index:
        raise _RefusedError(f"its pickle has the memo index {argument} after {index} opcodes")


def _look_up(module: str, name: str) -> object:
    try:
        return _ALLOWED_NAMES[module, name]
    except KeyError:
        raise _RefusedError(
            f"its pickle names {module}.{name}, which is not needed for tensors and could run "
            "code; nothing was run. Only tensors in plain or ordered dicts are read"
        ) from None


class _AllowListUnpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO):
        super().__init__(stream)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        return _look_up(module_name, global_name)

    def persistent_load(self, pid: Any, /) -> Storage:
        storage = _parse_persistent_id(pid)
        known = self.storages.setdefault(storage.key, storage)
        if known != storage:
            raise _RefusedError(f"its pickle declares storage {storage.key!r} in two ways")
        return known


def _parse_persistent_id(pid: Any) -> Storage:
    """Reads ("storage", class, key, device, length), in old files followed by a view or None."""
    fields: list[Any] = list(cast(tuple[Any, ...], pid)) if isinstance(pid, tuple) else []
    if len(fields) not in (5, 6) or fields[0] != "storage":
        raise _RefusedError(
            f"its pickle has the persistent id {_short(fields)}; a storage is needed"
        )
    _, kind, key, _, num_elements = fields[:5]
    if len(fields) == 6 and fields[5] is not None:
        raise _RefusedError(
            f"storage {_short(key)} is a view of another one; save it with a newer torch"
        )
    if not isinstance(kind, _StorageType) or not isinstance(key, str):
        raise _RefusedError(f"its pickle has a storage of kind {_short(kind)}, key {_short(key)}")
    if not _is_count(num_elements):
        raise _RefusedError(f"storage {key!r} has length {_short(num_elements)}")
    return Storage(key, kind.dtype, num_elements)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
