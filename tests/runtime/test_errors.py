"""Errors in one line."""

import pytest

from armoe_jax.runtime.errors import one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("value\nover two\tlines"), "value over two lines"),
        (KeyError("no such key"), "no such key"),
        (FileNotFoundError(2, "No such file", "x.png"), "[Errno 2] No such file: 'x.png'"),
        (ValueError(), "ValueError"),
        # A name that would clear the screen, and one that is not UTF-8.
        (ValueError("\x1b[2J.png caf\udce9"), r"\x1b[2J.png caf\udce9"),
        (ValueError("größer"), "größer"),
    ],
)
def test_one_line(error, line):
    assert one_line(error) == line
