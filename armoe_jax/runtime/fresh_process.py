"""Runs a function in a process of its own, whose memory no earlier work has touched."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from armoe_jax.runtime.errors import UserError, is_user_error, one_line


def run_in_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """Returns `function(*args)`, computed in a new process; what it raises is raised here.

    The process shares nothing with this one but the environment. An accelerator must not be in use
    by this process yet.

    Args:
        function: Of the top level of a module that can be imported.
        *args: Things that can be pickled.

    Raises:
        UserError: The function refused what it was given, in whatever kind of error.
        ChildProcessError: The process was ended from outside, as systems do when memory runs out.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(_call, function, *args).result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "the process that measures was ended from outside; most likely there was not enough "
            "memory for it: try a smaller size or batch, or tiles"
        ) from error


def _call(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except Exception as error:
        # On its way to the other process an error loses its frames, which tell whose fault it is.
        if is_user_error(error) and not isinstance(error, OSError):
            raise UserError(one_line(error)) from error
        raise
