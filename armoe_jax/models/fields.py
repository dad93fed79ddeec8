"""Reading, writing and checking the fields of an architecture's record."""

import dataclasses
import reprlib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Record = TypeVar("Record")

HUGE = 1e30
"""Numbers of this size and above are refused: as float32 their squares are infinite."""

_QUOTE = reprlib.Repr()
_QUOTE.maxtuple = _QUOTE.maxlist = 32


def to_plain(record: Any) -> dict[str, Any]:
    """Returns a record's fields as values that JSON can hold; tuples become lists."""
    values = dataclasses.asdict(record)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def from_mapping(cls: type[Record], values: Mapping[str, Any]) -> Record:
    """Makes a record from a mapping, such as one read from a file: nothing is of a known type.

    Lists become tuples, and whole numbers floats where the field is one.

    Raises:
        ValueError: A field is unknown or has a value that is not allowed.
    """
    kinds = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(kinds))
    if unknown:
        raise ValueError(f"unknown architecture fields {unknown}; known are {sorted(kinds)}")
    return cls(**{name: _of_kind(name, kinds[name], value) for name, value in values.items()})


def require(condition: bool, name: str, value: Any, allowed: str) -> None:
    """Raises ValueError, with what is allowed, unless a condition holds."""
    if not condition:
        raise ValueError(f"{name}={_QUOTE.repr(value)} is not allowed; it must be {allowed}")


def is_number(value: Any) -> bool:
    """Returns whether a value is a finite number that float32 can square."""
    # Integers of any size compare; few would survive becoming floats. NaN does not compare.
    return isinstance(value, int | float) and not isinstance(value, bool) and -HUGE < value < HUGE


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_MEMBERS: dict[type, tuple[Callable[[Any], bool], str, str]] = {
    int: (_is_integer, "an integer", "integers, such as (2, 2)"),
    float: (is_number, "a finite number", "finite numbers"),
    bool: (lambda value: isinstance(value, bool), "true or false", "true or false"),
    str: (lambda value: isinstance(value, str), "text", "names"),
}
"""Type of a field or of its members -> check, what one must be, what several must be."""


def _of_kind(name: str, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.UnionType):  # only "or None"
        if value is None:
            return None
        kind = next(option for option in typing.get_args(kind) if option is not types.NoneType)
    if typing.get_origin(kind) is tuple:
        member = typing.get_args(kind)[0]
        is_one, _, several = _MEMBERS[member]
        value = tuple(value) if isinstance(value, list) else value
        require(isinstance(value, tuple) and all(map(is_one, value)), name, value, several)
        return tuple(map(member, value))
    is_one, one, _ = _MEMBERS[kind]
    require(is_one(value), name, value, one)
    return kind(value)
