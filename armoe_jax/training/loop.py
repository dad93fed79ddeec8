"""The loop over steps: logs, validates, saves, and stops in good order."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from flax import traverse_util
from jax.sharding import Mesh

from armoe_jax.models.stacking import unstack_blocks
from armoe_jax.runtime.progress import Progress
from armoe_jax.training import sharding
from armoe_jax.training import state as train_state
from armoe_jax.training.checkpointer import Checkpointer
from armoe_jax.training.metric_writer import VALIDATION_PREFIX, MultiWriter
from armoe_jax.training.preemption import Preempted, PreemptionWatch
from armoe_jax.training.profiling import TraceWindow
from armoe_jax.training.state import TrainState
from armoe_jax.training.step import StepInfo
from armoe_jax.training.step_metrics import to_scalars
from armoe_jax.training.validation import (
    Sample,
    ValidationStopped,
    show_expert_usage,
    show_samples,
)
from input_pipeline.example import Batch

_SHOWN_NAMES = 5


@dataclasses.dataclass(frozen=True)
class _Taken:
    """A step that was taken: its number (counted from 1), batch and result."""

    step: int
    batch: Any
    info: StepInfo


class NonFiniteError(ArithmeticError):
    """Too many steps in a row had a loss, gradients or an update that were not finite."""


@dataclasses.dataclass(frozen=True)
class LoopPlan:
    """When the loop does what.

    Attributes:
        num_steps: Length of the run.
        batch_size: Images of a step, for the rate.
        log_every: Steps between two lines of metrics.
        eval_every: Steps between validations; 0: only after the last step.
        max_skipped_in_a_row: Non-finite steps in a row at which the run stops.
        experts: Names for the usage figures.
    """

    num_steps: int
    batch_size: int
    log_every: int
    eval_every: int
    max_skipped_in_a_row: int
    experts: tuple[str, ...]

    def __post_init__(self):
        for name in ("num_steps", "log_every", "max_skipped_in_a_row"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if self.eval_every < 0:
            raise ValueError(f"eval.every is {self.eval_every}; it must be 0 (off) or more")

    def logs(self, step: int) -> bool:
        """Returns whether metrics are written after this many steps."""
        return step % self.log_every == 0 or step == self.num_steps

    def validates(self, step: int) -> bool:
        """Returns whether a validation follows after this many steps."""
        every = self.eval_every
        return step == self.num_steps or (every > 0 and step > 0 and step % every == 0)


@dataclasses.dataclass
class TrainLoop:
    """Everything the loop works with; `run` is the loop.

    Attributes:
        plan: When to do what.
        mesh: Where arrays live.
        step_fn: Compiled step, (state, batch) -> (state, info).
        gradients_fn: (state, batch) -> gradients, to explain a step that is not finite.
        checkpointer: Saves states.
        describe: Returns what a checkpoint says about itself, from (step, validated).
        writer: Metrics.
        progress: Bar or lines.
        watch: Notices requests to stop.
        trace: Profiler.
        prepare: Returns what a step needs of a batch of the input pipeline.
        validator: Measures variables, or None without evaluation images.
    """

    plan: LoopPlan
    mesh: Mesh
    step_fn: Callable[..., tuple[TrainState, StepInfo]]
    gradients_fn: Callable[..., Any]
    checkpointer: Checkpointer
    describe: Callable[[int, bool], Mapping[str, Any]]
    writer: MultiWriter
    progress: Progress
    watch: PreemptionWatch
    trace: TraceWindow
    prepare: Callable[[Batch], dict[str, Any]]
    validator: Callable[..., tuple[dict[str, float], list[Sample]]] | None

    def __post_init__(self):
        self._reset = jax.jit(train_state.zeros_like, out_shardings=sharding.replicated(self.mesh))
        self._start = self._last_log = time.monotonic()

    def run(self, state: TrainState, batches: Iterator[Batch], *, validated: bool) -> TrainState:
        """Trains to the end of the plan and returns the last state.

        Args:
            state: State to start from; donated.
            batches: This process's batches, the first being number `state.step`.
            validated: Whether the state needs no validation before the next step.

        Raises:
            Preempted: A signal asked to stop; the state is saved.
            NonFiniteError: Too many steps in a row were skipped.
            OSError: A checkpoint could not be written.
        """
        step = last_logged = int(state.step)
        if not validated:
            self._finish_step(state, step)
        before: _Taken | None = None
        self.progress.restart_clock()
        while step < self.plan.num_steps:
            batch = sharding.place_batch(self.prepare(next(batches)), self.mesh)
            self.trace.before_step(step)
            state, info = self.step_fn(state, batch)
            self.trace.after_step(step, info)
            step += 1
            # Looking at the step before keeps the device busy with this one meanwhile.
            if before is not None:
                self._look_at(before, state)
            before = _Taken(step, batch, info)
            if step == self.plan.num_steps:
                self._look_at(before, state)
            if self.plan.logs(step):
                state = self._log(state, step, step - last_logged)
                last_logged = step
            self._finish_step(state, step)
        self.checkpointer.wait()
        return state

    def _finish_step(self, state: TrainState, step: int) -> None:
        """Saves and validates what is due after a step; stops if asked to."""
        due = self.validator is not None and self.plan.validates(step)
        # First of all the steps taken are safe: a validation may fail, or take long.
        if due or self.checkpointer.is_due(step):
            self._save(state, step, validated=not due)
        figures = self._validate(state, step) if due else None
        if figures:
            self.writer.flush()
            self.checkpointer.add_metrics(step, figures)
        if self.watch.requested(step):
            self._save(state, step, validated=not due)
            self.checkpointer.wait()
            raise Preempted(step, self.watch.signal_number)

    def _save(self, state: TrainState, step: int, *, validated: bool) -> None:
        self.writer.flush()
        self.checkpointer.save(state, self.describe(step, validated))

    def _look_at(self, taken: "_Taken", state: TrainState) -> None:
        """Shows the result of a step, and stops a hopeless run."""
        self.progress.advance(note=f"loss {float(taken.info.loss):.5f}")
        skipped = int(taken.info.skipped_in_a_row)
        if skipped < self.plan.max_skipped_in_a_row:
            return
        gradients = jax.jit(self.gradients_fn)(
            dataclasses.replace(state, step=state.step * 0 + (taken.step - 1)), taken.batch
        )
        flags = jax.device_get(jax.tree.map(lambda x: jnp.all(jnp.isfinite(x)), gradients))
        finite = traverse_util.flatten_dict(flags, sep="/")
        bad = [name for name, good in finite.items() if not good]
        where = ", ".join(bad[:_SHOWN_NAMES]) + (", ..." if len(bad) > _SHOWN_NAMES else "")
        raise NonFiniteError(
            f"{skipped} steps in a row, up to step {taken.step}, were not finite and were skipped. "
            f"At the last one the loss was {float(taken.info.loss)}, and the gradients of "
            f"{len(bad)} of {len(finite)} parameters were not finite ({where or 'none'}), or "
            "parameters would not have been after the update. Lower optim.learning_rate, set "
            "optim.clip_norm or look for broken images, then run the same command again: it "
            "continues at the last checkpoint"
        )

    def _log(self, state: TrainState, step: int, steps: int) -> TrainState:
        """Writes the metrics of the last steps and starts new ones."""
        values = jax.device_get(state.metrics).compute()
        scalars = to_scalars(values, self.plan.experts)
        usage = {k: v for k, v in scalars.items() if k.startswith("expert_usage/")}
        now = time.monotonic()
        per_step = (now - self._last_log) / max(steps, 1)
        timing = {
            "images_per_second": self.plan.batch_size / max(per_step, 1e-9),
            "seconds_per_step": per_step,
            "elapsed_seconds": now - self._start,
        }
        self.writer.write_scalars(step, scalars | timing)
        if usage:
            self.writer.write_images(
                step, {"expert_usage": show_expert_usage(usage, self.plan.experts)}
            )
        self._last_log = now
        return dataclasses.replace(state, metrics=self._reset(state.metrics))

    def _validate(self, state: TrainState, step: int) -> dict[str, float] | None:
        """Returns validation figures, or None if the run is asked to stop meanwhile."""
        assert self.validator is not None
        start = time.monotonic()
        variables = unstack_blocks(sharding.gather_on_host(state.best_variables, self.mesh))
        may_stop = jax.process_count() == 1
        try:
            figures, samples = self.validator(
                variables, should_stop=lambda: may_stop and bool(self.watch.signal_number)
            )
        except ValidationStopped:
            return None
        self.writer.write_scalars(
            step, {f"{VALIDATION_PREFIX}{name}": value for name, value in figures.items()}
        )
        self.writer.write_images(step, show_samples(samples))
        logging.info(
            "step %d: PSNR-Y %.3f dB (input %.3f), SSIM-Y %.4f (input %.4f)",
            step,
            figures["psnr_y"],
            figures["lq_psnr_y"],
            figures["ssim_y"],
            figures["lq_ssim_y"],
        )
        self._last_log += time.monotonic() - start  # validation is not training time
        return figures
