"""Dispatch: brings images to their experts and the results back. Decides nothing.

Every function takes the experts as functions of a batch and returns the mixture "b h w c".
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from armoe_jax.experts import ExpertInputs
from armoe_jax.ops.platform import num_devices

ExpertFn = Callable[[ExpertInputs], Float[Array, "b h w c"]]


def by_weight(
    experts: Sequence[ExpertFn], inputs: ExpertInputs, weights: Float[Array, "b e"]
) -> Float[Array, "b h w c"]:
    """Runs every expert on every image and weighs the results: the released form."""
    parts = [weights[:, i, None, None, None] * expert(inputs) for i, expert in enumerate(experts)]
    return functools.reduce(jnp.add, parts)


def by_capacity(
    experts: Sequence[ExpertFn],
    inputs: ExpertInputs,
    expert_index: Int[Array, " b"],
    slots: int,
) -> tuple[Float[Array, "b h w c"], Bool[Array, " b"]]:
    """Runs each expert on at most `slots` of its images, in batch order.

    Under a mesh (`jax.set_mesh`) its devices share the slots of each expert.

    Returns:
        The mixture, 0 for images that found their expert full, and which those are.
    """
    batch = inputs.values.shape[0]
    chosen = expert_index[:, None] == jnp.arange(len(experts))[None, :]  # b e
    position = jnp.cumsum(chosen, axis=0) - 1  # b e: rank of the image among those of the expert
    kept = chosen & (position < slots)
    seats = _round_up(slots, num_devices())
    # Which image sits in seat k of expert e; an empty seat holds image 0, whose result is unused.
    seat = kept[:, :, None] & (position[:, :, None] == jnp.arange(seats)[None, None, :])  # b e k
    image_of_seat = jnp.argmax(seat, axis=0)  # e k

    results = []
    for i, expert in enumerate(experts):
        images = image_of_seat[i]
        taken = dataclasses.replace(
            inputs,
            values=_spread(inputs.values[images]),
            features=_spread(inputs.features[images]),
        )
        results.append(expert(taken))
    stacked = jnp.concatenate(results, axis=0)  # (e k) h w c
    rank = jnp.take_along_axis(position, expert_index[:, None], axis=1)[:, 0]
    served = rank < slots
    row = jnp.where(served, expert_index * seats + rank, 0)
    mixture = jnp.where(served.reshape(batch, 1, 1, 1), stacked[row], 0.0)
    return mixture, ~served


def _spread(seats: Float[Array, "k h w c"]) -> Float[Array, "k h w c"]:
    """Splits seats over the devices.

    Which images they hold is known at run time only: left alone, the compiler has every device fill
    all seats and do the work of all.
    """
    if num_devices() == 1:
        return seats
    axes = jax.sharding.get_abstract_mesh().axis_names
    return jax.lax.with_sharding_constraint(seats, PartitionSpec(axes))


def _round_up(number: int, divisor: int) -> int:
    return -(-number // divisor) * divisor


def by_branch(
    experts: Sequence[ExpertFn], inputs: ExpertInputs, expert_index: Int[Array, " b"]
) -> Float[Array, "b h w c"]:
    """Runs only the chosen expert of each image, one image after the other; none is dropped."""

    def one(
        index: Int[Array, ""], values: Float[Array, "1 h w c"], features: Float[Array, "1 h w c"]
    ) -> Float[Array, "1 h w c"]:
        return jax.lax.switch(
            index, list(experts), dataclasses.replace(inputs, values=values, features=features)
        )

    if inputs.values.shape[0] == 1:
        return one(expert_index[0], inputs.values, inputs.features)
    return jax.lax.map(
        lambda image: one(image[0], image[1][None], image[2][None])[0],
        (expert_index, inputs.values, inputs.features),
    )
