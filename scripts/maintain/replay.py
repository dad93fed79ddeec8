"""Repeats the beginning of a training run, to show that it can be repeated."""

from typing import Any

from armoe_jax.training import setup


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
    parts = setup.prepare(config)
    losses = []
    with setup.open_data(parts, num_steps=num_steps) as batches:
        step_fn = setup.compile_step(parts)
        state = setup.fresh_state(parts)
        for batch in batches:
            state, info = step_fn(state, setup.place_batch(parts, batch))
            losses.append(float(info.loss))
    return losses
