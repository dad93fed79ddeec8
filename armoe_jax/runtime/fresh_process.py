"""Runs a function in a process of its own, whose memory no earlier work has touched."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any


def run_in_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """Returns `function(*args)`, computed in a new process; what it raises is raised here.

    The process shares nothing with this one but the environment. An accelerator must not be in use
    by this process yet.

    Args:
        function: Of the top level of a module that can be imported.
        *args: Things that can be pickled.

    Raises:
        ChildProcessError: The process was ended from outside, as systems do when memory runs out.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(function, *args).result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "the process that measures was ended from outside; most likely there was not enough "
            "memory for it: try a smaller size or batch, or tiles"
        ) from error
