"""Fields of records: plain values out and in, of the types that are declared."""

import dataclasses
import math

import pytest

from armoe_jax.models.fields import HUGE, from_mapping, is_number, require, to_plain


@dataclasses.dataclass(frozen=True)
class Record:
    count: int = 1
    rate: float = 0.5
    sides: tuple[float, ...] = (1.0,)
    names: tuple[str, ...] = ()
    scale: float | None = None
    flag: bool = False


def test_plain_values_come_back():
    record = Record(count=3, sides=(2.0, 4.5), names=("a",), scale=2.0, flag=True)
    plain = to_plain(record)
    expected = {"count": 3, "rate": 0.5, "sides": [2.0, 4.5], "names": ["a"], "scale": 2.0}
    assert plain == {**expected, "flag": True}
    assert from_mapping(Record, plain) == record


def test_whole_numbers_become_floats_where_the_field_is_one():
    record = from_mapping(Record, {"rate": 2, "sides": [1, 2], "scale": 3})
    values = (record.rate, *record.sides, record.scale)
    assert values == (2.0, 1.0, 2.0, 3.0)
    assert {type(value) for value in values} == {float}
    assert from_mapping(Record, {"scale": None}).scale is None


@pytest.mark.parametrize(
    ("field", "value", "needed"),
    [
        ("count", True, "an integer"),
        ("count", 1.0, "an integer"),
        ("rate", math.nan, "a finite number"),
        ("rate", HUGE, "a finite number"),
        ("sides", 1.0, "finite numbers"),
        ("sides", [1, "2"], "finite numbers"),
        ("names", "ab", "names"),
        ("scale", "2", "a finite number"),
        ("flag", 1, "true or false"),
    ],
)
def test_values_of_other_types_are_refused_by_name(field, value, needed):
    with pytest.raises(ValueError, match=f"^{field}=.* is not allowed; it must be {needed}"):
        from_mapping(Record, {field: value})


def test_unknown_fields_are_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"fields \['size'\]; known are \['count', 'flag',"):
        from_mapping(Record, {"size": 1})


def test_long_values_are_cut_in_messages():
    with pytest.raises(ValueError, match="is not allowed; it must be shorter") as caught:
        require(False, "names", "x" * 10_000, "shorter")
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("value", "is_one"),
    [(0, True), (-2.5, True), (10**400, False), (math.inf, False), (True, False), ("1", False)],
)
def test_numbers(value, is_one):
    assert is_number(value) == is_one
