"""A training run: prepare, continue or begin, open the data, loop, report."""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import jax
from absl import logging
from clu import parameter_overview, platform

from armoe_jax.evaluation.record import Evaluation
from armoe_jax.models.stacking import unstack_blocks
from armoe_jax.runtime.files import write_atomically
from armoe_jax.runtime.locks import locked
from armoe_jax.runtime.progress import Progress
from armoe_jax.training import setup, sharding
from armoe_jax.training.checkpointer import Checkpointer
from armoe_jax.training.final_report import evaluate_workdir
from armoe_jax.training.loop import LoopPlan, TrainLoop
from armoe_jax.training.memory_advice import advising_on_memory
from armoe_jax.training.metric_writer import MultiWriter, create_writer
from armoe_jax.training.objectives import step_batch
from armoe_jax.training.preemption import PreemptionWatch
from armoe_jax.training.profiling import TraceWindow, compile_and_report
from armoe_jax.training.resume import describe_checkpoint, make_resume_check, note_training_set
from armoe_jax.training.run_info import save_run_info
from armoe_jax.training.setup import Parts
from armoe_jax.training.state import TrainState
from armoe_jax.training.step import make_gradients
from armoe_jax.training.validation import Validator

LOCK_FILE = ".lock"


def train_and_evaluate(config: Any, workdir: str | Path) -> Evaluation | None:
    """Trains as configured, continuing where an earlier run in the same folder stopped.

    Args:
        config: The whole configuration (`configs/base.py`).
        workdir: Gets checkpoints, metrics, the configuration, and at the end restored images.

    Returns:
        The report of `evaluate_workdir`; None without evaluation images, or with several
        processes, whose last validation is in the metrics file.

    Raises:
        ValueError: A field of the configuration is not allowed, data are missing, or the folder
            holds a run with another network.
        Preempted: A signal asked to stop; the state is saved.
        NonFiniteError: Too many steps in a row were not finite.
        OSError: A checkpoint could not be written or read, or another run works in the folder.
    """
    workdir = Path(workdir)
    parts = setup.prepare(config)
    validator = setup.make_validator(config, parts.model)
    loop_plan = setup.make_loop_plan(config, parts.model)
    # One of several processes locks for all of them.
    first = jax.process_index() == 0
    lock = locked(workdir / LOCK_FILE) if first else contextlib.nullcontext()
    with lock, advising_on_memory(config):
        _train(parts, loop_plan, validator, workdir)
        if validator is None or jax.process_count() > 1:
            return None
        return evaluate_workdir(config, workdir)


def _train(parts: Parts, loop_plan: LoopPlan, validator: Validator | None, workdir: Path) -> None:
    config = parts.config
    with Checkpointer(workdir, setup.make_save_plan(config)) as checkpointer:
        check = make_resume_check(config, parts.model)
        restored = checkpointer.restore(parts.like, check=check)
        start = 0 if restored is None else int(restored[0].step)
        if start > config.train.num_steps:
            raise ValueError(
                f"train.num_steps is {config.train.num_steps}, but the run in {workdir} has taken "
                f"{start} steps already: set it to {start} or more, or use another --workdir"
            )
        # Data come first: what is wrong with them shows before a large network has been drawn.
        if validator is not None:
            validator.check()
        with setup.open_data(parts, start=start) as batches:
            if restored is None:
                state, validated = setup.fresh_state(parts), True
            else:
                state, validated = restored[0], restored[1]["validated"]
            if jax.process_index() == 0:
                _record_start(parts, workdir, state, start)
            with _open_watchers(config, workdir, start, validated=validated) as watchers:
                if restored is None:
                    watchers["writer"].write_hparams(config.to_dict())
                if start < config.train.num_steps or not validated:
                    loop = _make_loop(parts, loop_plan, validator, checkpointer, watchers)
                    loop.run(state, batches, validated=validated)


class _Watchers(TypedDict):
    """Those who follow a run, as `TrainLoop` names them."""

    writer: MultiWriter
    watch: PreemptionWatch
    trace: TraceWindow
    progress: Progress


@contextlib.contextmanager
def _open_watchers(
    config: Any, workdir: Path, start: int, *, validated: bool
) -> Iterator[_Watchers]:
    """Opens what writes, shows and stops a run, and closes it in the opposite order."""
    first_process = jax.process_index() == 0
    with (
        create_writer(
            workdir,
            resume_step=start,
            validated=validated,
            tensorboard=config.log.tensorboard,
            enabled=first_process,
        ) as writer,
        PreemptionWatch() as watch,
        TraceWindow(
            workdir,
            first_step=config.profile.first_step,
            num_steps=config.profile.num_steps,
        ) as trace,
        Progress(
            config.train.num_steps,
            "training",
            "step",
            initial=start,
            images_per_unit=config.train.batch_size,
            enabled=first_process,
        ) as progress,
    ):
        yield {"writer": writer, "watch": watch, "trace": trace, "progress": progress}


def _make_loop(
    parts: Parts,
    plan: LoopPlan,
    validator: Validator | None,
    checkpointer: Checkpointer,
    watchers: _Watchers,
) -> TrainLoop:
    """Compiles the step and returns the loop around it."""
    config, model = parts.config, parts.model
    return TrainLoop(
        plan=plan,
        mesh=parts.mesh,
        step_fn=compile_and_report(lambda: setup.compile_step(parts)),
        gradients_fn=make_gradients(model, parts.options),
        checkpointer=checkpointer,
        describe=lambda step, validated: describe_checkpoint(config, model, step, validated),
        prepare=functools.partial(step_batch, config=model.config),
        validator=validator,
        **watchers,
    )


def _record_start(parts: Parts, workdir: Path, state: TrainState, start: int) -> None:
    """Writes what the run is, and logs how it is spread and whether it continues."""
    save_run_info(workdir, parts.config.to_dict(), step=start)
    note_training_set(workdir, setup.list_training_set(parts))
    if start:
        logging.info("continuing at step %d of %d", start, parts.config.train.num_steps)
        platform.work_unit().set_task_status(f"continued at step {start}")
    else:
        # Of shapes alone: other processes, which hold parts of the values, are not here.
        overview = parameter_overview.get_parameter_overview(
            unstack_blocks(parts.like.params), include_stats=False
        )
        write_atomically(workdir / "parameters.txt", overview + "\n")
    count = parameter_overview.count_parameters(state.params)
    summary = sharding.summarize(state, jax.tree.map(lambda x: x.sharding, parts.like))
    logging.info("%d parameters; state of the run: %s", count, summary)
