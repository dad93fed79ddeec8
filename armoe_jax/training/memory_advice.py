"""Tells what to change where memory does not suffice."""

import contextlib
from collections.abc import Generator
from typing import Any

from armoe_jax.runtime.errors import one_line

_SIGNS = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory")
_KILLED_WORKER = "Worker process was terminated unexpectedly with exit code -9"


class OutOfMemoryError(OSError):
    """A device, or the machine, has too little memory for a run."""


@contextlib.contextmanager
def advising_on_memory(config: Any) -> Generator[None]:
    """Turns what JAX, NumPy and Grain raise for want of memory into advice.

    Args:
        config: The whole configuration.

    Raises:
        OutOfMemoryError: The block ran out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if _KILLED_WORKER in str(error):
            raise OutOfMemoryError(
                "a process that reads images was killed, most likely for want of memory: lower "
                f"data.num_workers ({config.data.num_workers}) or data.prefetch "
                f"({config.data.prefetch}), then run the same command again to continue"
            ) from error
        if not (isinstance(error, MemoryError) or any(sign in str(error) for sign in _SIGNS)):
            raise
        raise OutOfMemoryError(
            f"out of memory ({one_line(error)[:200]}); {', '.join(_advice(config))}; if it came in "
            "a validation, set eval.tile to 'auto'. Then run the same command again to continue"
        ) from error


def _advice(config: Any) -> list[str]:
    batch, pieces = config.train.batch_size, config.train.accumulation_steps
    advice = [
        f"raise train.accumulation_steps ({pieces}) or lower train.batch_size ({batch}) or "
        f"data.patch_size ({config.data.patch_size})"
    ]
    if not config.model.get("remat", True):
        advice.append("set model.remat to True")
    if config.model.get("dtype", "") == "float32":
        advice.append("set model.dtype to 'bfloat16'")
    return advice
