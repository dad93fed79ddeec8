"""JSON that others wrote: whatever is wrong with it is one kind of error; and our own."""

import math

import pytest

from armoe_jax.runtime.json_files import (
    MAX_DEPTH,
    is_integer,
    is_number,
    parse_json,
    read_json,
    write_json,
)


def test_values_are_read(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"name": "Größe", "values": [1, 2.5, null, true]}', encoding="utf-8")
    assert read_json(path) == {"name": "Größe", "values": [1, 2.5, None, True]}


def test_what_is_written_is_read_and_ends_a_line(tmp_path):
    path = tmp_path / "new" / "x.json"
    write_json(path, {"name": "Größe", "b": [1]})
    assert read_json(path) == {"name": "Größe", "b": [1]}
    write_json(path, {"b": None, "a": 2.5}, indent=1, sort_keys=True)
    assert path.read_bytes() == b'{\n "a": 2.5,\n "b": null\n}\n'


def test_what_json_has_no_word_for_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, [1, math.nan])
    assert [file.read_text() for file in tmp_path.iterdir()] == ["1\n"]


@pytest.mark.parametrize("data", [b"", b"{", b"{'a': 1}", b"\xff\xfe{}", b"[1] [2]"])
def test_what_is_no_json_is_refused_by_the_name_of_its_file(tmp_path, data):
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.json: ") as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_file_is_another_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded(start, end):
    inner = "[]" if start == "[" else "1"
    deepest = MAX_DEPTH if start == "[" else MAX_DEPTH + 1
    text = start * (deepest - 1) + inner + end * (deepest - 1)
    parse_json(text)
    for levels in (deepest + 1, 100_000):
        with pytest.raises(ValueError, match="nested more than 100 levels deep"):
            parse_json(start * levels + inner + end * levels)


@pytest.mark.parametrize(
    ("value", "integer", "number"),
    [
        (3, True, True),
        (-2.5, False, True),
        (True, False, False),
        (10**400, True, False),
        (math.nan, False, False),
        (math.inf, False, False),
        ("3", False, False),
        (None, False, False),
    ],
)
def test_numbers(value, integer, number):
    assert (is_integer(value), is_number(value)) == (integer, number)
