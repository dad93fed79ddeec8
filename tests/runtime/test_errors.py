"""Errors of users in one line, errors of the program with a traceback."""

import concurrent.futures
import sys
import types

import numpy as np
import pytest

from armoe_jax.convert import read_torch
from armoe_jax.models import ARMoEConfig
from armoe_jax.ops.tiling import plan_tiles
from armoe_jax.runtime.errors import UserError, is_user_error, one_line, printable, run, tell


def caught(function, *args):
    try:
        function(*args)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def of_ours(body):
    """Returns a function that counts as this project's code."""
    module = types.ModuleType("armoe_jax.made_for_a_test")
    exec(f"def function(value):\n    {body}", module.__dict__)
    return module.function


@pytest.mark.parametrize(
    "body",
    [
        "raise ValueError('tile=-1 is not allowed')",
        "raise KeyError(value)",
        "raise TypeError('unknown keyword') from None",
        "open('/no/such/file')",  # told by the system
        "exec('with open(value): pass')",
    ],
)
def test_refusals_are_about_what_a_user_gave(body, tmp_path):
    assert is_user_error(caught(of_ours(body), str(tmp_path / "absent")))


@pytest.mark.parametrize(
    "body",
    [
        "import numpy; numpy.zeros(2) + numpy.zeros(3)",  # ValueError
        "{}[value]",  # KeyError
        "len()",  # TypeError
        "int('x')",  # ValueError
        "None.shape",  # AttributeError
        "raise AssertionError",
        "raise RuntimeError('impossible')",
        "[][0]",
    ],
)
def test_bugs_are_not_about_what_a_user_gave(body):
    assert not is_user_error(caught(of_ours(body), "x"))


def test_errors_that_others_raise_are_bugs():
    """A library's own `raise`, reached with what our code should not have passed."""
    assert not is_user_error(caught(np.random.default_rng(0).choice, 0))
    assert not is_user_error(caught(of_ours("import json; json.loads('{')"), ""))


def test_public_doors_raise_what_is_a_users(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"PNG")
    assert is_user_error(caught(read_torch, tmp_path / "x.pth"))
    assert is_user_error(caught(read_torch, tmp_path / "absent.pth"))
    assert is_user_error(caught(lambda: ARMoEConfig(embed_dim=31)))
    assert is_user_error(caught(plan_tiles, 8, 8, 0, 0))


def test_errors_keep_their_kind_through_threads():
    with concurrent.futures.ThreadPoolExecutor() as pool:
        refused = pool.submit(of_ours("raise ValueError('no')"), 0)
        failed = pool.submit(of_ours("int('x')"), 0)
        assert is_user_error(caught(refused.result))
        assert not is_user_error(caught(failed.result))


def test_what_is_told(capsys):
    assert tell(UserError("tile=-1\nis not allowed"), "armoe-jax restore") == 2
    assert capsys.readouterr().err == "armoe-jax restore: tile=-1 is not allowed\n"
    assert tell(caught(of_ours("int(value)"), "x"), "armoe-jax restore") == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):\n")
    assert "made_for_a_test" in err or "in function" in err
    assert "Please report it" in err.splitlines()[-1]
    assert sys.exc_info() == (None, None, None)


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


def test_printable():
    assert printable("größe |\r\n\x00") == r"größe |\r\n\x00"


def test_a_command_ends_with_its_status_or_that_of_its_error(capsys):
    assert run(lambda: 3, "command") == 3
    assert run(lambda: of_ours("raise ValueError('no such tile')")(0), "command") == 2
    assert capsys.readouterr().err == "command: no such tile\n"
    assert run(lambda: of_ours("return 1 / value")(0), "command") == 1
    assert "Traceback" in capsys.readouterr().err
