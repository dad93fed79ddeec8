"""Strict application of an ordered list of rules between a state dict and model variables.

A rule gives the name of a tensor in the state dict and its shape there, and says what becomes
of it: a weight goes to a path of the variables, with its axes reordered; a counter is kept beside
them; a constant is compared and dropped. Application is strict both ways: whatever no rule
covers, whatever a rule needs and is not there, and every wrong shape is an error, and one error
lists them all.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from flax import traverse_util

Variables = dict[str, Any]
"""{"params": ..., "batch_stats": ...}: nested dicts of arrays."""


class Weight(NamedTuple):
    """A trained tensor or running statistic.

    Attributes:
        name: In the state dict.
        shape: In the state dict.
        path: In the variables, joined by "/", the collection first.
        axes: Order of the state dict's axes in the variables' array.
    """

    name: str
    shape: tuple[int, ...]
    path: str
    axes: tuple[int, ...]


class Counter(NamedTuple):
    """An int64 scalar that training counts up; absent means 0.

    Attributes:
        name: In the state dict.
        path: What to keep it under.
    """

    name: str
    path: str

    @property
    def shape(self) -> tuple[int, ...]:
        """A scalar's."""
        return ()


class Constant(NamedTuple):
    """A tensor that follows from the architecture; may be absent.

    Attributes:
        name: In the state dict.
        shape: In the state dict.
        make: Returns the value that it must have.
    """

    name: str
    shape: tuple[int, ...]
    make: Callable[[], np.ndarray]


Rule = Weight | Counter | Constant


class Imported(NamedTuple):
    """What a state dict turns into.

    Attributes:
        variables: Nested dicts of float32 arrays.
        counters: Counter paths -> values; those absent in the state dict are left out.
    """

    variables: Variables
    counters: dict[str, int]


def import_state_dict(rules: Sequence[Rule], tensors: Mapping[str, np.ndarray]) -> Imported:
    """Turns a state dict into variables.

    Args:
        rules: Every name that may occur, once.
        tensors: The state dict. Weights of any float type become float32.

    Raises:
        ValueError: Names are missing or unexpected, shapes or types are wrong, or constants do
            not have their values; one message lists all.
    """
    by_name = {rule.name: rule for rule in rules}
    _raise_listing(
        "the state dict does not fit the architecture",
        {
            "missing": [r.name for r in rules if isinstance(r, Weight) and r.name not in tensors],
            "unexpected": [name for name in tensors if name not in by_name],
            "misshapen": [
                f"{name} {tensor.shape} instead of {by_name[name].shape}"
                for name, tensor in tensors.items()
                if name in by_name and tensor.shape != by_name[name].shape
            ],
            "of a wrong type": [
                f"{name} {tensor.dtype}"
                for name, tensor in tensors.items()
                if name in by_name and not _type_fits(by_name[name], tensor.dtype)
            ],
        },
    )
    check_constants(rules, tensors)
    flat: dict[str, np.ndarray] = {}
    counters: dict[str, int] = {}
    for rule in rules:
        if isinstance(rule, Weight):
            flat[rule.path] = np.array(
                tensors[rule.name].transpose(rule.axes), np.float32, order="C"
            )
        elif isinstance(rule, Counter) and rule.name in tensors:
            counters[rule.path] = int(tensors[rule.name])
    variables = cast(Variables, traverse_util.unflatten_dict(flat, sep="/"))  # pyright: ignore[reportUnknownMemberType]
    return Imported(variables, counters)


def check_constants(rules: Iterable[Rule], tensors: Mapping[str, np.ndarray]) -> None:
    """Compares the constants that are present with the values that they must have.

    Raises:
        ValueError: Some differ; the message lists them.
    """
    differing = [
        rule.name
        for rule in rules
        if isinstance(rule, Constant)
        and rule.name in tensors
        and not _equal(tensors[rule.name], rule.make())
    ]
    _raise_listing(
        "the state dict's constant buffers do not have the values that the architecture gives",
        {"differing": differing},
    )


def variable_shapes(rules: Iterable[Rule]) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every array of the variables, by path, in the rules' order."""
    return {r.path: tuple(r.shape[a] for a in r.axes) for r in rules if isinstance(r, Weight)}


def check_variables(rules: Iterable[Rule], variables: Mapping[str, Any]) -> None:
    """Checks that variables have the paths and shapes of the rules, neither more nor fewer.

    Raises:
        ValueError: They do not; one message lists all paths concerned.
    """
    flat = _flatten(variables)
    shapes = variable_shapes(rules)
    _raise_listing(
        "the variables do not fit the architecture",
        {
            "missing": [path for path in shapes if path not in flat],
            "unexpected": [path for path in flat if path not in shapes],
            "misshapen": [
                f"{path} {np.shape(array)} instead of {shapes[path]}"
                for path, array in flat.items()
                if path in shapes and np.shape(array) != shapes[path]
            ],
        },
    )


def export_variables(
    rules: Sequence[Rule],
    variables: Mapping[str, Any],
    counters: Mapping[str, int],
    *,
    constants: bool,
) -> dict[str, np.ndarray]:
    """Turns variables into a state dict; undoes `import_state_dict`.

    Args:
        rules: Their order becomes the state dict's.
        variables: Nested dicts of arrays.
        counters: Values of counters by path; 0 for those absent.
        constants: Whether constants are put in too.

    Returns:
        Arrays by name. Weights are views with reordered axes, not contiguous; equal constants
        are one array under several names.

    Raises:
        ValueError: Variables do not have the rules' paths and shapes; one message lists all.
    """
    check_variables(rules, variables)
    flat = _flatten(variables)
    tensors: dict[str, np.ndarray] = {}
    for rule in rules:
        if isinstance(rule, Weight):
            array = np.asarray(flat[rule.path], np.float32)
            tensors[rule.name] = array.transpose(np.argsort(rule.axes))
        elif isinstance(rule, Counter):
            tensors[rule.name] = np.array(counters.get(rule.path, 0), np.int64)
        elif constants:
            tensors[rule.name] = rule.make()
    return tensors


def list_non_finite(variables: Mapping[str, Any]) -> list[str]:
    """Lists the arrays that hold NaN or infinite numbers, such as "params/norm/scale (3 of 32)"."""
    listed: list[str] = []
    for path, array in _flatten(variables).items():
        if bad := int(np.sum(~np.isfinite(array))):
            listed.append(f"{path} ({bad} of {np.size(array)})")
    return listed


def _flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
    flat = traverse_util.flatten_dict(dict(variables), sep="/")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return cast(dict[str, Any], flat)


def _type_fits(rule: Rule, dtype: np.dtype) -> bool:
    is_integer = np.issubdtype(dtype, np.integer)
    # Bfloat16 comes from ml_dtypes and has no place in NumPy's hierarchy of types.
    is_float = np.issubdtype(dtype, np.floating) or dtype.name == "bfloat16"
    if isinstance(rule, Weight):
        return is_float
    if isinstance(rule, Counter):
        return is_integer
    return is_integer or is_float


def _equal(tensor: np.ndarray, expected: np.ndarray) -> bool:
    # A file in half precision holds the constants rounded to it.
    return np.array_equal(tensor, expected.astype(tensor.dtype))


def _raise_listing(what: str, lists: Mapping[str, Sequence[str]]) -> None:
    found = [f"{len(names)} {kind}: {', '.join(names)}" for kind, names in lists.items() if names]
    if found:
        raise ValueError(f"{what}; {'; '.join(found)}")
