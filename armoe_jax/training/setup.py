"""From a configuration to what a run works with: mesh, network, objective, state, step, data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from jax.sharding import Mesh

from armoe_jax.checkpoints.weights import load_weights
from armoe_jax.models import Network, build_model
from armoe_jax.models.stacking import stack_blocks
from armoe_jax.training import optim, sharding, warm_start
from armoe_jax.training import state as train_state
from armoe_jax.training.checkpointer import SavePlan
from armoe_jax.training.loop import LoopPlan
from armoe_jax.training.losses import make_loss
from armoe_jax.training.objectives import (
    SPARSE_LOAD_BALANCING_WEIGHT,
    StepOptions,
    batch_shapes,
    check_objective,
    step_batch,
)
from armoe_jax.training.ranges import require_range
from armoe_jax.training.state import TrainState
from armoe_jax.training.step import lower_train_step, make_train_step, metrics_shapes
from armoe_jax.training.validation import Validator, limit, parse_tile
from input_pipeline import pipeline

PyTree = Any

_INIT_SIZE = 8  # pixels; parameters do not depend on it


@dataclasses.dataclass(frozen=True)
class Parts:
    """What follows from the configuration alone; nothing of the run has been read or written.

    Attributes:
        config: The whole configuration (`configs/base.py`).
        mesh: The devices.
        model: The network.
        options: Loss, optimiser and schedule.
        like: Shapes, types and placement of the run's state.
    """

    config: Any
    mesh: Mesh
    model: Network
    options: StepOptions
    like: TrainState


def prepare(config: Any) -> Parts:
    """Checks the configuration and makes what a run works with.

    Raises:
        ValueError: A field is not allowed, or does not go with others.
    """
    mesh = sharding.make_mesh(config.sharding.num_devices)
    model = build_model(config.model.to_dict())
    sharding.check_batch(
        config.train.batch_size,
        mesh=mesh,
        accumulation_steps=config.train.accumulation_steps,
        statistics=model.config.has_batch_statistics,
    )
    options = make_step_options(config, model)
    return Parts(
        config=config,
        mesh=mesh,
        model=model,
        options=options,
        like=abstract_state(config, model, options, mesh),
    )


def open_data(
    parts: Parts, *, start: int = 0, num_steps: int | None = None
) -> pipeline.TrainLoader:
    """Opens this process's batches.

    Args:
        parts: From `prepare`.
        start: Number of the first batch.
        num_steps: Number of the last batch plus one; as configured if None.
    """
    config = parts.config
    return pipeline.train_loader(
        config.data.to_dict(),
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        start_step=start,
        num_steps=config.train.num_steps if num_steps is None else num_steps,
        scale=parts.model.config.scale,
        in_chans=parts.model.config.in_chans,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def list_training_set(parts: Parts) -> dict[str, Any]:
    """Returns what the training images are, by name; see `pipeline.list_training_set`."""
    return pipeline.list_training_set(parts.config.data.to_dict(), scale=parts.model.config.scale)


def place_batch(parts: Parts, batch: Mapping[str, Any]) -> PyTree:
    """Returns what the step needs of a batch of the input pipeline, spread over the mesh."""
    return sharding.place_batch(step_batch(batch, parts.model.config), parts.mesh)


def fresh_state(parts: Parts) -> TrainState:
    """Returns the placed state of a new run: random, or from `train.init_from`."""
    return state_from(parts, first_variables(parts))


def first_variables(parts: Parts) -> dict[str, PyTree]:
    """Returns what a new run starts with, an array a block: random, or from `train.init_from`."""
    config, model = parts.config, parts.model
    # Lazily: no forward pass, and no program of thousands of draws, which compiles for minutes.
    image = jax.ShapeDtypeStruct(_image_shape(model), jnp.float32)
    variables = model.lazy_init(jax.random.key(config.train.seed), image)
    variables = jax.device_get(jax.tree.map(lambda x: jnp.asarray(x, float), dict(variables)))
    if config.train.init_from:
        variables = _load_start(config, variables)
    return variables


def state_from(parts: Parts, variables: Mapping[str, PyTree]) -> TrainState:
    """Returns the placed state before the first step.

    Values are made on one device and then placed, so that they do not depend on the mesh.

    Args:
        parts: From `prepare`.
        variables: As `first_variables` returns them.
    """
    config, model = parts.config, parts.model
    stacked = stack_blocks(variables, model.config)
    state = jax.device_get(initial_state(config, model, parts.options, stacked))
    return sharding.place(state, jax.tree.map(lambda x: x.sharding, parts.like))


def compile_step(parts: Parts) -> jax.stages.Compiled:
    """Compiles the training step, (state, batch) -> (state, info), for the configured batch."""
    config, model = parts.config, parts.model
    patch = config.data.patch_size
    batch = batch_shapes(model.config, config.train.batch_size, patch, patch)
    step_fn = make_train_step(model, parts.options)
    return lower_train_step(
        step_fn, parts.mesh, parts.like, batch, fsdp=config.sharding.fsdp
    ).compile()


def make_step_options(config: Any, model: Network) -> StepOptions:
    """Returns loss, optimiser and schedule from the groups `train` and `optim`.

    Raises:
        ValueError: A field is not allowed, or does not go with the network.
    """
    check_objective(config.train.objective, model.config)
    _check_ranges(config)
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
        overrated=config.train.overrated,
    )


def _check_ranges(config: Any) -> None:
    require_range("train.ema_decay", config.train.ema_decay, low=0, below=1)
    require_range("train.charbonnier_eps", config.train.charbonnier_eps, above=0)
    require_range("train.quality_jitter", config.train.quality_jitter, low=0)
    weight = config.train.load_balancing_weight
    if weight is not None:
        require_range("train.load_balancing_weight", weight, low=0)


def make_loop_plan(config: Any, model: Network) -> LoopPlan:
    """Returns the loop's plan from the groups `train`, `log` and `eval`."""
    return LoopPlan(
        num_steps=config.train.num_steps,
        batch_size=config.train.batch_size,
        log_every=config.log.every,
        eval_every=config.eval.every,
        max_skipped_in_a_row=config.train.max_skipped_in_a_row,
        experts=model.config.experts,
    )


def make_save_plan(config: Any) -> SavePlan:
    """Returns when checkpoints are written, from the group `checkpoint`."""
    return SavePlan(
        every=config.checkpoint.every,
        keep=config.checkpoint.keep,
        num_steps=config.train.num_steps,
    )


def make_validator(config: Any, model: Network) -> Validator | None:
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


def abstract_state(config: Any, model: Network, options: StepOptions, mesh: Mesh) -> TrainState:
    """Returns the shapes, types and placement of a run's state."""
    variables = stack_blocks(jax.eval_shape(lambda: _init(model, config)), model.config)
    shapes = jax.eval_shape(lambda v: initial_state(config, model, options, v), variables)
    placement = train_state.shardings(shapes, mesh, fsdp=config.sharding.fsdp)
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, placement
    )


def initial_state(
    config: Any, model: Network, options: StepOptions, variables: Mapping[str, PyTree]
) -> TrainState:
    """Returns the state before the first step, from stacked variables."""
    shapes = metrics_shapes(model.config.num_layers, len(model.config.experts))
    return train_state.create(variables, options.optimizer, ema=config.train.ema, metrics=shapes)


def _init(model: Network, config: Any) -> dict[str, PyTree]:
    """Returns freshly initialised variables, in the default float type."""
    image = jnp.zeros(_image_shape(model))
    variables = model.init(jax.random.key(config.train.seed), image)
    return jax.tree.map(lambda x: jnp.asarray(x, float), dict(variables))


def _image_shape(model: Network) -> tuple[int, int, int, int]:
    return (1, _INIT_SIZE, _INIT_SIZE, model.config.in_chans)


def _load_start(config: Any, fresh: Mapping[str, PyTree]) -> dict[str, PyTree]:
    path = config.train.init_from
    source = load_weights(path, key=config.train.init_key).variables
    merged, report = warm_start.merge(fresh, source)
    if not config.train.init_partial:
        warm_start.require_complete(report, path)
    logging.info("starting from %s: %s", path, report)
    return merged
