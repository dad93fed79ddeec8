"""Repeats the beginning of a training run, to show that it can be repeated."""

from typing import Any

from armoe_jax.models import build_model
from armoe_jax.training import sharding
from armoe_jax.training.step import step_batch
from armoe_jax.training.train import abstract_state, compile_for, fresh_state, make_step_options
from input_pipeline import pipeline


def first_losses(config: Any, num_steps: int) -> list[float]:
    """Trains from the beginning and returns the loss of every step; nothing is written.

    The program, its data and random numbers are those of `train_and_evaluate` with the same
    configuration. On the same machine with the same versions the losses are equal bit for bit.

    Args:
        config: The whole configuration. Its `train.num_steps` stays that of the whole run, on which
            the learning rate may depend.
        num_steps: How many steps to take.

    Raises:
        ValueError: A field is not allowed, or data are missing.
        FileNotFoundError: Data are missing; the message names the command that builds them.
    """
    mesh = sharding.make_mesh(config.sharding.num_devices)
    model = build_model(config.model.to_dict())
    options = make_step_options(config, model)
    like = abstract_state(config, model, options, mesh)
    losses = []
    with pipeline.train_loader(
        config.data.to_dict(),
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        num_steps=num_steps,
        scale=model.config.scale,
        in_chans=model.config.in_chans,
    ) as batches:
        step_fn = compile_for(config, model, options, mesh, like)
        state = fresh_state(config, model, options, like)
        for batch in batches:
            state, info = step_fn(
                state, sharding.place_batch(step_batch(batch, model.config), mesh)
            )
            losses.append(float(info.loss))
    return losses
