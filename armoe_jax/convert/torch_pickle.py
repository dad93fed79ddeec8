"""Reads the pickles of a PyTorch file without PyTorch, and without unpickling them.

A pickle is a program for a stack machine, and may name any function of the installation and call
it. `load` is such a machine that knows only the opcodes and the names that a state dict needs, and
refuses all others. None of these names stands for real PyTorch code; what they call makes the
records of `torch_records`.

A short pickle can also ask for much: a pair that holds the pair before it twice, sixty times over,
takes 2^60 steps to hash, and a million tuples within each other end Python when one is hashed. So
steps and depth are bounded, and only keys that are hashed and compared in no time are allowed.
"""

import io
import mmap
import pickletools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeGuard, cast

from armoe_jax.convert import torch_records
from armoe_jax.convert.torch_records import (
    MAX_NAME_LENGTH,
    STORAGE_DTYPES,
    RefusedError,
    Storage,
    StorageType,
    quote,
)
from armoe_jax.runtime.errors import kind_and_line

MAX_PICKLE_BYTES = 64 * 2**20
"""Longest pickle that is read; that of the full network with its buffers has 0.5 MB."""

MAX_STEPS = 2_000_000
"""Most opcodes of a pickle: a tensor takes about 45, the full network has about 4,000."""

MAX_DEPTH = 64
"""Most containers within each other; a state dict within a training state needs about 5."""

MAX_ARGUMENTS = 8
"""Most arguments of a call: one long tuple of them could serve a million calls."""

MAX_INTEGER_KEY = 2**16
"""Optimizers number their parameters; large integers could be chosen to collide in a dict."""


def load(stream: io.BytesIO | mmap.mmap) -> tuple[object, dict[str, Storage]]:
    """Reads one pickle, from the stream's position to the pickle's end.

    Args:
        stream: Positioned at the pickle's first byte; left behind its last one.

    Returns:
        The object, with dicts in place of ordered dicts and `TensorRecord` in place of tensors;
        and every storage that it names, by key.

    Raises:
        ValueError: It is truncated or malformed, exceeds a limit, or has an opcode or a name that
            state dicts do not need; the message gives the name.
    """
    machine = _Machine()
    for opcode, argument in _opcodes(stream):
        machine.step(opcode, argument)
    return machine.pop(), machine.storages


def _opcodes(stream: io.BytesIO | mmap.mmap) -> Iterator[tuple[str, Any]]:
    """Yields the names and arguments of the opcodes before the last, STOP."""
    start = stream.tell()
    try:
        for opcode, argument, position in pickletools.genops(cast(Any, stream)):
            if (position or 0) - start > MAX_PICKLE_BYTES:
                raise RefusedError(f"its pickle is longer than {MAX_PICKLE_BYTES} bytes")
            if opcode.name != "STOP":
                yield opcode.name, argument
    except RefusedError:
        raise
    except Exception as error:
        why = kind_and_line(error)
        raise ValueError(f"its pickle is damaged or truncated ({why})") from error


class _Function(NamedTuple):
    """Stands for a function that a pickle may call."""

    call: Callable[..., object]


class _OrderedDictType(NamedTuple):
    """Stands for collections.OrderedDict."""


class _Machine:
    """Performs opcodes on a stack, with marks and a memo."""

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._steps = 0
        # What is known of containers, by identity; they are kept, so that each stays theirs.
        self._depths: dict[int, int] = {}
        self._enclosed: set[int] = set()
        self._kept: list[object] = []

    def step(self, opcode: str, argument: Any) -> None:
        """Performs an opcode, or refuses it."""
        self._count(1)
        if opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        elif opcode in _LITERALS:
            self._stack.append(argument)
        elif opcode not in _WITHOUT_EFFECT:
            what = "" if argument is None else f" {quote(str(argument).replace(' ', '.'))}"
            raise RefusedError(
                f"its pickle uses the opcode {opcode}{what}, which state dicts do not need"
            )

    def pop(self) -> Any:
        """Takes the last value after the last mark."""
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise _malformed("a value is missing on its stack")
        return self._stack.pop()

    def pop_to_mark(self) -> list[Any]:
        """Takes the last mark and the values after it."""
        if not self._marks:
            raise _malformed("a mark is missing on its stack")
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def push(self, value: object) -> None:
        """Puts a value on the stack."""
        self._stack.append(value)

    def mark(self) -> None:
        """Notes the height of the stack."""
        self._marks.append(len(self._stack))

    def put(self, index: int | None = None) -> None:
        """Notes the last value in the memo, under its length by default."""
        self._stack.append(value := self.pop())
        self._memo[len(self._memo) if index is None else index] = value

    def get(self, index: int) -> None:
        """Puts a noted value on the stack."""
        if index not in self._memo:
            raise _malformed(f"its memo has no value {index}")
        self._stack.append(self._memo[index])

    def push_tuple(self, values: Sequence[object]) -> None:
        """Puts a tuple on the stack."""
        self._enclose(made := tuple(values), made)
        self._stack.append(made)

    def push_last(self, count: int) -> None:
        """Puts the last values into a tuple."""
        self.push_tuple([self.pop() for _ in range(count)][::-1])

    def extend(self, values: Sequence[object]) -> None:
        """Adds values to the list that is last on the stack."""
        target = self._open(list)
        self._enclose(target, values)
        target.extend(values)

    def update(self, values: Sequence[object]) -> None:
        """Adds keys and values, in turns, to the dict that is last on the stack."""
        target = self._open(dict)
        if len(values) % 2:
            raise _malformed("a dict has a key without a value")
        keys, values = values[::2], values[1::2]
        for key in keys:
            _check_key(key)
        self._enclose(target, values)
        target.update(zip(keys, values, strict=True))

    def push_name(self, module: object, name: object) -> None:
        """Puts what stands for a class or function on the stack."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise _malformed("a name is no text")
        if (module, name) not in _ALLOWED_NAMES:
            raise RefusedError(
                f"its pickle names {quote(f'{module}.{name}')}, which is not needed for tensors "
                "and could run code; nothing was run. Only tensors in plain or ordered dicts are "
                "read"
            )
        self._stack.append(_ALLOWED_NAMES[module, name])

    def reduce(self) -> None:
        """Calls what a name stands for."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(arguments, tuple):
            raise _malformed("a call has no tuple of arguments")
        arguments = cast(tuple[Any, ...], arguments)
        if len(arguments) > MAX_ARGUMENTS:
            raise _malformed(f"a call has {len(arguments)} arguments")
        if isinstance(function, _OrderedDictType):
            self._stack.append({})
            self.update(self._flat_pairs(arguments))
        elif isinstance(function, _Function):
            try:
                self._stack.append(function.call(*arguments))
            except TypeError:
                raise _malformed(f"a call has {len(arguments)} arguments") from None
        else:
            raise _malformed(f"{quote(function)} is no function")

    def drop_state(self) -> None:
        """Drops attributes: PyTorch notes the modules' versions as one of an ordered dict."""
        self.pop()
        self._open(dict)

    def push_storage(self) -> None:
        """Puts the storage that a persistent id describes on the stack."""
        storage = torch_records.build_storage(self.pop())
        known = self.storages.setdefault(storage.key, storage)
        if known != storage:
            raise RefusedError(f"its pickle declares storage {quote(storage.key)} in two ways")
        self._stack.append(known)

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise RefusedError(f"its pickle takes more than {MAX_STEPS} steps")

    def _open(self, kind: type) -> Any:
        """Returns the container that is last on the stack and in no other yet."""
        self._stack.append(target := self.pop())
        if type(target) is not kind:
            raise _malformed(f"{quote(target)} is treated as a {kind.__name__}")
        if id(target) in self._enclosed:
            raise RefusedError(f"its pickle changes a {kind.__name__} that is in another container")
        return target

    def _enclose(self, container: object, values: Sequence[object]) -> None:
        """Notes that a container holds values; they keep their depth from then on."""
        depth = max(self._depths.get(id(container), 1), 1)
        for value in values:
            if value is container:
                raise RefusedError(f"its pickle has a {type(container).__name__} within itself")
            if isinstance(value, (tuple, list, dict)):
                self._enclosed.add(id(cast(object, value)))
                depth = max(depth, self._depths.get(id(cast(object, value)), 1) + 1)
        if depth > MAX_DEPTH:
            raise RefusedError(f"its pickle has more than {MAX_DEPTH} containers within each other")
        if id(container) not in self._depths:
            self._kept.append(container)
        self._depths[id(container)] = depth

    def _flat_pairs(self, arguments: tuple[Any, ...]) -> list[object]:
        """Returns the keys and values of OrderedDict's only argument, pairs in a list."""
        pairs: Any = arguments[0] if len(arguments) == 1 else ()
        if len(arguments) > 1 or not _is_sequence(pairs):
            raise _malformed("an ordered dict is not made of a list of pairs")
        self._count(len(pairs))
        if not all(_is_sequence(pair) and len(pair) == 2 for pair in pairs):
            raise _malformed("an ordered dict is not made of a list of pairs")
        return [part for pair in pairs for part in pair]


def _malformed(why: str) -> RefusedError:
    return RefusedError(f"its pickle is not a state dict's: {why}")


def _is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, (list, tuple))


def _check_key(key: object) -> None:
    if isinstance(key, str) and len(key) <= MAX_NAME_LENGTH:
        return
    if type(key) is int and 0 <= key < MAX_INTEGER_KEY:
        return
    raise RefusedError(
        f"its pickle has a dict with the key {quote(key)}; keys are names of at most "
        f"{MAX_NAME_LENGTH} characters, or integers from 0 to {MAX_INTEGER_KEY - 1}"
    )


_ALLOWED_NAMES: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): _OrderedDictType(),
    ("torch._utils", "_rebuild_tensor"): _Function(torch_records.build_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(torch_records.build_tensor),
    ("torch._utils", "_rebuild_parameter"): _Function(torch_records.build_parameter),
    **{("torch", name): StorageType(dtype) for name, dtype in STORAGE_DTYPES.items()},
}

_LITERALS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "SHORT_BINBYTES", "BINBYTES"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    )
)
_WITHOUT_EFFECT = frozenset(["PROTO", "FRAME"])


def _push_dict(machine: _Machine, values: Sequence[object]) -> None:
    machine.push({})
    machine.update(values)


def _push_list(machine: _Machine, values: Sequence[object]) -> None:
    machine.push([])
    machine.extend(values)


_ACTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "MARK": lambda m, _: m.mark(),
    "POP": lambda m, _: m.pop(),
    "POP_MARK": lambda m, _: m.pop_to_mark(),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "MEMOIZE": lambda m, _: m.put(),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "EMPTY_TUPLE": lambda m, _: m.push_last(0),
    "TUPLE1": lambda m, _: m.push_last(1),
    "TUPLE2": lambda m, _: m.push_last(2),
    "TUPLE3": lambda m, _: m.push_last(3),
    "TUPLE": lambda m, _: m.push_tuple(m.pop_to_mark()),
    "EMPTY_LIST": lambda m, _: _push_list(m, ()),
    "LIST": lambda m, _: _push_list(m, m.pop_to_mark()),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.pop_to_mark()),
    "EMPTY_DICT": lambda m, _: _push_dict(m, ()),
    "DICT": lambda m, _: _push_dict(m, m.pop_to_mark()),
    "SETITEM": lambda m, _: m.update([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: m.update(m.pop_to_mark()),
    "GLOBAL": lambda m, names: m.push_name(*str(names).split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.push_name(*[m.pop(), m.pop()][::-1]),
    "REDUCE": lambda m, _: m.reduce(),
    "BUILD": lambda m, _: m.drop_state(),
    "BINPERSID": lambda m, _: m.push_storage(),
}
