"""What a compiled step costs, and traces of chosen steps."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import logging

from armoe_jax.runtime.memory import return_freed_memory

TRACE_FOLDER = "profile"


def compile_and_report(compile_step: Callable[[], jax.stages.Compiled]) -> jax.stages.Compiled:
    """Compiles the training step and logs how long it took and what XLA says it needs."""
    start = time.monotonic()
    compiled = compile_step()
    seconds = time.monotonic() - start
    return_freed_memory()
    logging.info("compiled the training step in %.1f s; %s", seconds, describe_memory(compiled))
    return compiled


def describe_memory(compiled: jax.stages.Compiled) -> str:
    """Returns XLA's memory analysis of one device in words."""
    analysis: Any = compiled.memory_analysis()
    if analysis is None:
        return "no memory analysis on this platform"
    parts = {
        "arguments": analysis.argument_size_in_bytes,
        "temporary": analysis.temp_size_in_bytes,
        "output": analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
        "program": analysis.generated_code_size_in_bytes,
    }
    sizes = ", ".join(f"{name} {size / 2**20:.1f}" for name, size in parts.items())
    return f"memory of one device in MiB: {sizes}"


class TraceWindow:
    """Records a profiler trace of some steps in WORKDIR/profile, for TensorBoard or Perfetto.

    Args:
        workdir: Working directory.
        first_step: First step that is recorded (0 is the first of the run).
        num_steps: How many; 0 for none.
    """

    def __init__(self, workdir: str | Path, *, first_step: int, num_steps: int):
        if first_step < 0 or num_steps < 0:
            raise ValueError(
                f"profile.first_step is {first_step} and profile.num_steps {num_steps}; "
                "both must be 0 or more"
            )
        self._folder = Path(workdir) / TRACE_FOLDER
        self._steps = range(first_step, first_step + num_steps)
        self._running = False

    def __enter__(self) -> "TraceWindow":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def before_step(self, step: int) -> None:
        """Starts the trace if the step is in the window (also one that was resumed into)."""
        if step in self._steps and not self._running:
            jax.profiler.start_trace(self._folder)
            self._running = True

    def after_step(self, step: int, result: Any) -> None:
        """Stops the trace after the window's last step, when its result is there."""
        if self._running and step + 1 >= self._steps.stop:
            jax.block_until_ready(result)
            self._stop()

    def _stop(self) -> None:
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
            logging.info("wrote the profiler trace to %s", self._folder)
