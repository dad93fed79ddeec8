"""Dispatch: runs the experts that images chose, where the images are. Decides nothing.

Every function takes the experts as functions of a batch and returns the mixture "b h w c". Under a
mesh (`jax.set_mesh`) every device serves its own images, and none travels: left to itself, the
compiler copies all images of the batch to every device, for the choice by index and for the FFT.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from armoe_jax.experts import ExpertInputs
from armoe_jax.ops.platform import everywhere, num_devices
from armoe_jax.ops.transforms import Decay

ExpertFn = Callable[[ExpertInputs], Float[Array, "b h w c"]]
"""A function that is a tree of its parameters, too: a `jax.tree_util.Partial`."""


def by_weight(
    experts: Sequence[ExpertFn], inputs: ExpertInputs, weights: Float[Array, "b e"]
) -> Float[Array, "b h w c"]:
    """Runs every expert on every image and weighs the results: the released form."""
    return _on_each_device(_weighted, experts, inputs, weights)


def _weighted(
    experts: Sequence[ExpertFn], inputs: ExpertInputs, weights: Float[Array, "b e"]
) -> Float[Array, "b h w c"]:
    parts = [weights[:, i, None, None, None] * expert(inputs) for i, expert in enumerate(experts)]
    return functools.reduce(jnp.add, parts)


def by_capacity(
    experts: Sequence[ExpertFn],
    inputs: ExpertInputs,
    expert_index: Int[Array, " b"],
    slots: int,
) -> tuple[Float[Array, "b h w c"], Bool[Array, " b"]]:
    """Runs each expert on at most `slots` of its images, in batch order.

    On one device the experts get their images as batches of `slots`. Several devices agree on who
    is served, and then run their own images one by one.

    Returns:
        The mixture, 0 for images that found their expert full, and which those are.
    """
    chosen = expert_index[:, None] == jnp.arange(len(experts))[None, :]  # b e
    position = jnp.cumsum(chosen, axis=0) - 1  # b e: rank of the image among those of the expert
    rank = jnp.take_along_axis(position, expert_index[:, None], axis=1)[:, 0]
    served = everywhere(rank < slots)
    if num_devices() == 1:
        mixture = _in_slots(experts, inputs, expert_index, rank, slots)
    else:
        mixture = _on_each_device(_one_by_one_recomputing, experts, inputs, expert_index)
    return jnp.where(served.reshape(-1, 1, 1, 1), mixture, 0.0), ~served


def _in_slots(
    experts: Sequence[ExpertFn],
    inputs: ExpertInputs,
    expert_index: Int[Array, " b"],
    rank: Int[Array, " b"],
    slots: int,
) -> Float[Array, "b h w c"]:
    """Runs each expert on a batch of `slots` images; arbitrary for images with rank >= slots."""
    served = rank < slots
    row = jnp.where(served, expert_index * slots + rank, 0)
    # An empty slot holds image 0, whose result is unused.
    slot = served[None, :] & (row[None, :] == jnp.arange(len(experts) * slots)[:, None])  # (e k) b
    image_of_slot = jnp.argmax(slot, axis=1).reshape(len(experts), slots)
    results = []
    for expert, images in zip(experts, image_of_slot, strict=True):
        taken = dataclasses.replace(
            inputs, values=inputs.values[images], features=inputs.features[images]
        )
        results.append(expert(taken))
    return jnp.concatenate(results, axis=0)[row]


def by_branch(
    experts: Sequence[ExpertFn], inputs: ExpertInputs, expert_index: Int[Array, " b"]
) -> Float[Array, "b h w c"]:
    """Runs only the chosen expert of each image, one image after the other; none is dropped."""
    return _on_each_device(_one_by_one, experts, inputs, expert_index)


def _one_by_one(
    experts: Sequence[ExpertFn], inputs: ExpertInputs, expert_index: Int[Array, " b"]
) -> Float[Array, "b h w c"]:
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


def _one_by_one_recomputing(
    experts: Sequence[ExpertFn], inputs: ExpertInputs, expert_index: Int[Array, " b"]
) -> Float[Array, "b h w c"]:
    """The same for gradients: else what each expert stores is kept for all, filled with zeros."""
    return _one_by_one([jax.checkpoint(expert) for expert in experts], inputs, expert_index)


def _on_each_device(
    serve: Callable[[Sequence[ExpertFn], ExpertInputs, Array], Float[Array, "b h w c"]],
    experts: Sequence[ExpertFn],
    inputs: ExpertInputs,
    per_image: Array,
) -> Float[Array, "b h w c"]:
    """Calls serve(experts, inputs, per_image) with the images that a device holds."""
    devices = num_devices()
    if devices == 1 or inputs.values.shape[0] % devices:
        return serve(experts, inputs, per_image)
    axes = jax.sharding.get_abstract_mesh().axis_names
    whole, split = PartitionSpec(), PartitionSpec(axes)

    def local(
        experts: Sequence[ExpertFn], decay: Decay, values: Array, features: Array, per_image: Array
    ) -> Array:
        # Gradients are added up here: in a branch, only devices that take it would meet.
        experts, decay = jax.lax.pcast((experts, decay), axes, to="varying")
        inputs = ExpertInputs(values=values, features=features, decay=decay)
        return serve(experts, inputs, per_image)

    shared = jax.shard_map(local, in_specs=(whole, whole, *[split] * 3), out_specs=split)
    return shared(experts, inputs.decay, inputs.values, inputs.features, per_image)
