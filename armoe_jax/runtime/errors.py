"""How commands tell of errors: of a user's in one line, of their own with all there is.

Public functions refuse bad input with a `raise` of their own: ValueError, KeyError, TypeError or an
OSError, as callers of Python functions expect. A bug raises the same kinds, but from within a
library, an index or a call. So where an error was raised tells the two apart, and no function has
to raise one kind for commands and another for callers.
"""

import dis
import io
import sys
import traceback
from collections.abc import Callable
from types import TracebackType

_OURS = ("armoe_jax", "input_pipeline", "configs")
_RAISE = dis.opmap["RAISE_VARARGS"]


class UserError(ValueError):
    """What a user did wrong, wherever it was raised; for errors out of other processes."""


def is_user_error(error: BaseException) -> bool:
    """Tells whether an error is about what a user gave, not about the program.

    True for `UserError`, for what the system refuses (OSError), and for ValueError, KeyError and
    TypeError that a `raise` statement of this project's own code raised.
    """
    if isinstance(error, UserError | OSError):
        return True
    return isinstance(error, ValueError | KeyError | TypeError) and _is_raised_by_us(
        error.__traceback__
    )


def tell(error: BaseException, program: str) -> int:
    """Tells of an error on stderr.

    Args:
        error: What ended a command.
        program: Its name, to begin with.

    Returns:
        The exit status: 2 for what a user did wrong, told in one line; 1 for an error of the
        program, told with its traceback and a request to report it.
    """
    if is_user_error(error):
        sys.stderr.write(f"{program}: {one_line(error)}\n")
        return 2
    sys.stderr.write(f"{_with_traceback(error)}{program}: {one_line(error)}\n{_REQUEST}\n")
    return 1


def run(command: Callable[[], int], program: str) -> int:
    """Runs a command; returns its exit status, or that of its error, told as `tell` does."""
    try:
        return command()
    except Exception as error:
        return tell(error, program)


def tell_of_item(error: BaseException) -> str:
    """Returns the line about an item that failed while the rest goes on.

    An error of the program is told on stderr with its traceback before.
    """
    if not is_user_error(error):
        sys.stderr.write(f"{_with_traceback(error)}{_REQUEST}\n")
    return one_line(error)


_REQUEST = "This is an error of the program, not of its input. Please report it, with these lines."


def one_line(error: BaseException) -> str:
    """Returns an exception's message in one line, or its name if it has none."""
    # KeyError quotes its message.
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    return printable(" ".join(str(message).split())) or type(error).__name__


def kind_and_line(error: BaseException) -> str:
    """Returns an exception's kind and its message in one line; the kind alone without a message."""
    kind, line = type(error).__name__, one_line(error)
    return kind if line == kind else f"{kind}: {line}"


def printable(text: str) -> str:
    r"""Returns a text, such as a file's name, with escapes (`\x1b`) for what cannot be shown.

    That is what a terminal would obey or a table would break at, and what UTF-8 has no code for.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def write_any_name() -> None:
    """Has stdout escape what its encoding lacks, where it would raise: names are of any kind."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _is_raised_by_us(trace: TracebackType | None) -> bool:
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    package = str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
    return package in _OURS and trace.tb_frame.f_code.co_code[trace.tb_lasti] == _RAISE


def _with_traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
