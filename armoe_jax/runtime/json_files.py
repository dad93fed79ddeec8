"""JSON files: written whole, and read as others may have written them, with one kind of error."""

import json
from pathlib import Path
from typing import Any

from armoe_jax.runtime.files import write_atomically

MAX_DEPTH = 100
"""Most lists and objects within each other; deeper ones could not be written again."""
_HUGE = 1e300


def write_json(path: str | Path, value: Any, *, indent: int = 2, sort_keys: bool = False) -> None:
    """Writes a value as JSON; the file is there whole or not at all. Makes missing folders.

    Raises:
        ValueError: A number is not finite, for which JSON has no word.
        OSError: The file cannot be written.
    """
    text = json.dumps(value, indent=indent, sort_keys=sort_keys, allow_nan=False)
    write_atomically(path, text + "\n")


def read_json(path: str | Path) -> Any:
    """Reads a JSON file in UTF-8.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no JSON; the message names the file.
    """
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_json(text: str) -> Any:
    """Returns the value of a JSON text.

    Raises:
        ValueError: It is no JSON, or nested deeper than `MAX_DEPTH`.
    """
    too_deep = f"nested more than {MAX_DEPTH} levels deep"
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(too_deep) from error
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from error
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return value
    raise ValueError(too_deep)


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def is_integer(value: Any) -> bool:
    """Tells integers, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Tells numbers that stay finite as floats."""
    # Integers of any size compare, and NaN with nothing.
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and -_HUGE < value < _HUGE
