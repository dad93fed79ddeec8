"""Training: mesh, data, model, optimiser, state, step, restore, loop."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
from absl import logging
from clu import parameter_overview, platform
from jax.sharding import Mesh

from armoe_jax.checkpoints.weights import load_weights
from armoe_jax.models import ARMoE, ARMoEConfig, build_model
from armoe_jax.models.stacking import stack_blocks, unstack_blocks
from armoe_jax.runtime.progress import Progress
from armoe_jax.training import optim, sharding, warm_start
from armoe_jax.training import state as train_state
from armoe_jax.training.checkpointer import Checkpointer, SavePlan
from armoe_jax.training.final_report import evaluate_workdir, parse_tile
from armoe_jax.training.loop import LoopPlan, TrainLoop
from armoe_jax.training.losses import make_loss
from armoe_jax.training.metric_writer import MultiWriter, create_writer
from armoe_jax.training.preemption import PreemptionWatch
from armoe_jax.training.profiling import TraceWindow, compile_and_report
from armoe_jax.training.run_info import save_run_info
from armoe_jax.training.state import TrainState
from armoe_jax.training.step import (
    OBJECTIVES,
    SPARSE_LOAD_BALANCING_WEIGHT,
    StepOptions,
    batch_shapes,
    lower_train_step,
    make_gradients,
    make_train_step,
    metrics_shapes,
    step_batch,
)
from armoe_jax.training.validation import Validator, limit
from input_pipeline import pipeline

PyTree = Any

_INIT_SIZE = 8  # pixels; parameters do not depend on it


def train_and_evaluate(config: Any, workdir: str | Path) -> dict[str, Any] | None:
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
        OSError: A checkpoint could not be written.
    """
    workdir = Path(workdir)
    parts = _prepare(config)
    with Checkpointer(workdir, parts.save_plan) as checkpointer:
        restored = checkpointer.restore(parts.like, check=make_resume_check(config, parts.model))
        start = 0 if restored is None else int(restored[0].step)
        # Data come first: what is wrong with them shows before a large network has been drawn.
        with _open_data(config, parts.model, start) as batches:
            if restored is None:
                state = fresh_state(config, parts.model, parts.options, parts.like)
                validated = True
            else:
                state, validated = restored[0], restored[1]["validated"]
            if jax.process_index() == 0:
                _record_start(config, workdir, state, parts.like, start)
            with _open_watchers(config, workdir, start) as watchers:
                if restored is None:
                    watchers["writer"].write_hparams(config.to_dict())
                if start < config.train.num_steps or not validated:
                    loop = _make_loop(config, parts, checkpointer, watchers)
                    loop.run(state, batches, validated=validated)
    if parts.validator is None or jax.process_count() > 1:
        return None
    return evaluate_workdir(config, workdir)


@dataclasses.dataclass(frozen=True)
class _Parts:
    """What follows from the configuration alone; nothing of the run has been read or written."""

    mesh: Mesh
    model: ARMoE
    options: StepOptions
    validator: Validator | None
    loop_plan: LoopPlan
    save_plan: SavePlan
    like: TrainState


def _prepare(config: Any) -> _Parts:
    """Checks the configuration and makes what a run works with."""
    mesh = sharding.make_mesh(config.sharding.num_devices)
    sharding.check_batch(
        config.train.batch_size, mesh=mesh, accumulation_steps=config.train.accumulation_steps
    )
    model = build_model(config.model.to_dict())
    options = make_step_options(config, model)
    return _Parts(
        mesh=mesh,
        model=model,
        options=options,
        validator=make_validator(config, model),
        loop_plan=make_loop_plan(config, model),
        save_plan=SavePlan(
            every=config.checkpoint.every,
            keep=config.checkpoint.keep,
            num_steps=config.train.num_steps,
        ),
        like=abstract_state(config, model, options, mesh),
    )


def _open_data(config: Any, model: ARMoE, start: int) -> pipeline.TrainLoader:
    """Opens this process's batches, the first being number `start`."""
    return pipeline.train_loader(
        config.data.to_dict(),
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        start_step=start,
        num_steps=config.train.num_steps,
        scale=model.config.scale,
        in_chans=model.config.in_chans,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


class _Watchers(TypedDict):
    """Those who follow a run, as `TrainLoop` names them."""

    writer: MultiWriter
    watch: PreemptionWatch
    trace: TraceWindow
    progress: Progress


@contextlib.contextmanager
def _open_watchers(config: Any, workdir: Path, start: int) -> Iterator[_Watchers]:
    """Opens what writes, shows and stops a run, and closes it in the opposite order."""
    first_process = jax.process_index() == 0
    with (
        create_writer(
            workdir,
            resume_step=start,
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
            total=config.train.num_steps,
            initial=start,
            images_per_step=config.train.batch_size,
            enabled=first_process,
        ) as progress,
    ):
        yield {"writer": writer, "watch": watch, "trace": trace, "progress": progress}


def _make_loop(
    config: Any, parts: _Parts, checkpointer: Checkpointer, watchers: _Watchers
) -> TrainLoop:
    """Compiles the step and returns the loop around it."""
    model, options = parts.model, parts.options
    step_fn = compile_and_report(
        lambda: compile_for(config, model, options, parts.mesh, parts.like)
    )
    return TrainLoop(
        plan=parts.loop_plan,
        mesh=parts.mesh,
        step_fn=step_fn,
        gradients_fn=make_gradients(model, options),
        checkpointer=checkpointer,
        describe=lambda step, validated: describe_checkpoint(config, model, step, validated),
        prepare=functools.partial(step_batch, config=model.config),
        validator=parts.validator,
        **watchers,
    )


def init(model: ARMoE, config: Any) -> dict[str, PyTree]:
    """Returns freshly initialised variables, in the default float type."""
    image = jnp.zeros(_image_shape(model))
    variables = model.init(jax.random.key(config.train.seed), image)
    return jax.tree.map(lambda x: jnp.asarray(x, float), dict(variables))


def _image_shape(model: ARMoE) -> tuple[int, int, int, int]:
    return (1, _INIT_SIZE, _INIT_SIZE, model.config.in_chans)


def initial_state(
    config: Any, model: ARMoE, options: StepOptions, variables: Mapping[str, PyTree]
) -> TrainState:
    """Returns the state before the first step, from stacked variables."""
    shapes = metrics_shapes(model.config.num_layers, len(model.config.experts))
    return train_state.create(variables, options.optimizer, ema=config.train.ema, metrics=shapes)


def abstract_state(config: Any, model: ARMoE, options: StepOptions, mesh: Mesh) -> TrainState:
    """Returns the shapes, types and placement of a run's state."""
    variables = stack_blocks(jax.eval_shape(lambda: init(model, config)), model.config)
    shapes = jax.eval_shape(lambda v: initial_state(config, model, options, v), variables)
    placement = train_state.shardings(shapes, mesh, fsdp=config.sharding.fsdp)
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, placement
    )


def fresh_state(config: Any, model: ARMoE, options: StepOptions, like: TrainState) -> TrainState:
    """Returns the placed state of a new run: random, or from `train.init_from`.

    Values are made on one device and then placed, so that they do not depend on the mesh.
    """
    # Lazily: no forward pass, and no program of thousands of draws, which compiles for minutes.
    image = jax.ShapeDtypeStruct(_image_shape(model), jnp.float32)
    variables = model.lazy_init(jax.random.key(config.train.seed), image)
    variables = jax.device_get(jax.tree.map(lambda x: jnp.asarray(x, float), dict(variables)))
    if config.train.init_from:
        variables = _load_start(config, variables)
    variables = stack_blocks(variables, model.config)
    state = jax.device_get(initial_state(config, model, options, variables))
    return sharding.place(state, jax.tree.map(lambda x: x.sharding, like))


def compile_for(
    config: Any, model: ARMoE, options: StepOptions, mesh: Mesh, state: TrainState
) -> jax.stages.Compiled:
    """Compiles the training step for the configured batch."""
    patch = config.data.patch_size
    batch = batch_shapes(model.config, config.train.batch_size, patch, patch)
    step_fn = make_train_step(model, options)
    return lower_train_step(step_fn, mesh, state, batch, fsdp=config.sharding.fsdp).compile()


def make_step_options(config: Any, model: ARMoE) -> StepOptions:
    """Returns loss, optimiser and schedule from the groups `train` and `optim`.

    Raises:
        ValueError: A field is not allowed, or does not go with the network.
    """
    _check_objective(config.train.objective, config.train.quality_jitter, model)
    weight = config.train.load_balancing_weight
    if weight is None:
        weight = SPARSE_LOAD_BALANCING_WEIGHT if model.dispatch == "capacity" else 0.0
    return StepOptions(
        loss=make_loss(
            config.train.loss,
            charbonnier_eps=config.train.charbonnier_eps,
            colors=config.train.loss_colors,
        ),
        optimizer=optim.make_optimizer(config.optim.to_dict()),
        schedule=optim.make_schedule(config.optim.to_dict(), config.train.num_steps),
        seed=config.train.seed,
        load_balancing_weight=weight if model.config.experts else 0.0,
        ema_decay=config.train.ema_decay,
        accumulation_steps=config.train.accumulation_steps,
        objective=config.train.objective,
        quality_jitter=config.train.quality_jitter,
    )


def _check_objective(objective: str, jitter: float, model: ARMoE) -> None:
    if objective not in OBJECTIVES:
        raise ValueError(
            f"train.objective is {objective!r}; choose one of {', '.join(map(repr, OBJECTIVES))}"
        )
    if objective == "quality" and not model.config.quality_range:
        raise ValueError(
            "train.objective is 'quality', but the network has no estimator of it; give it one "
            "with --config.model.quality_range, such as (17, 42)"
        )
    if jitter < 0:
        raise ValueError(f"train.quality_jitter is {jitter}; it must be 0 or more")


def make_loop_plan(config: Any, model: ARMoE) -> LoopPlan:
    """Returns the loop's plan from the groups `train`, `log` and `eval`."""
    return LoopPlan(
        num_steps=config.train.num_steps,
        batch_size=config.train.batch_size,
        log_every=config.log.every,
        eval_every=config.eval.every,
        max_skipped_in_a_row=config.train.max_skipped_in_a_row,
        experts=model.config.experts,
    )


def make_validator(config: Any, model: ARMoE) -> Validator | None:
    """Returns the validator of the configured evaluation images; None if there are none."""
    if config.data.source == "folder" and not config.data.eval_gt:
        return None
    pairs = pipeline.eval_pairs(
        config.data.to_dict(), scale=model.config.scale, in_chans=model.config.in_chans
    )
    return Validator(
        model.config,
        limit(pairs, config.eval.max_images),
        crop_border=config.eval.crop_border,
        tile=parse_tile(config.eval.tile),
        overlap=config.eval.overlap,
        num_samples=config.eval.sample_images,
    )


def describe_checkpoint(config: Any, model: ARMoE, step: int, validated: bool) -> dict[str, Any]:
    """Returns the description that is saved with a state."""
    return {
        "model": model.config.to_dict(),
        "config": config.to_dict(),
        "data": _data_order(config) | {"next_batch": step},
        "ema": config.train.ema,
        "validated": validated,
    }


def make_resume_check(config: Any, model: ARMoE) -> Callable[[Mapping[str, Any]], None]:
    """Returns a check that a checkpoint belongs to this configuration."""

    def check(meta: Mapping[str, Any]) -> None:
        mine = model.config.to_dict() | {"ema": config.train.ema}
        # Fields that did not exist yet when it was saved had their defaults.
        saved = ARMoEConfig().to_dict() | meta["model"] | {"ema": meta["ema"]}
        differing = [
            f"{name}={mine.get(name)!r} (checkpoint: {saved.get(name)!r})"
            for name in sorted({*mine, *saved})
            if mine.get(name) != saved.get(name)
        ]
        if differing:
            raise ValueError(
                f"the run in this workdir has another network: {', '.join(differing)}; use another "
                "--workdir, and --config.train.init_from=THIS_WORKDIR to start from its weights"
            )
        for name, value in _data_order(config).items():
            if meta["data"].get(name) != value:
                logging.warning(
                    "%s is %s, but was %s: the data that follow are not those of the "
                    "interrupted run",
                    name,
                    value,
                    meta["data"].get(name),
                )

    return check


def _data_order(config: Any) -> dict[str, Any]:
    return {
        "seed": config.train.seed,
        "batch_size": config.train.batch_size,
        "patch_size": config.data.patch_size,
    }


def _load_start(config: Any, fresh: Mapping[str, PyTree]) -> dict[str, PyTree]:
    path = config.train.init_from
    source = load_weights(path, key=config.train.init_key).variables
    merged, report = warm_start.merge(fresh, source)
    if not config.train.init_partial:
        warm_start.require_complete(report, path)
    logging.info("starting from %s: %s", path, report)
    return merged


def _record_start(
    config: Any, workdir: Path, state: TrainState, like: TrainState, start: int
) -> None:
    """Writes what the run is, and logs how it is spread and whether it continues."""
    save_run_info(workdir, config.to_dict(), step=start)
    if start:
        logging.info("continuing at step %d of %d", start, config.train.num_steps)
        platform.work_unit().set_task_status(f"continued at step {start}")
    else:
        # Of shapes alone: other processes, which hold parts of the values, are not here.
        overview = parameter_overview.get_parameter_overview(
            unstack_blocks(like.params), include_stats=False
        )
        (workdir / "parameters.txt").write_text(overview + "\n")
    count = parameter_overview.count_parameters(state.params)
    summary = sharding.summarize(state, jax.tree.map(lambda x: x.sharding, like))
    logging.info("%d parameters; state of the run: %s", count, summary)
