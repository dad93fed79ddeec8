"""Dispatch of windows: runs the experts that they chose. Decides nothing.

Axes as in `windowed_mixture`. Experts are functions of windows, which they look at one by one, and
of what is told of the images; and trees of their parameters, too (`jax.tree_util.Partial`).
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from armoe_jax.ops.platform import num_devices

Told = Float[Array, " b"] | None
"""One number an image, such as its coding quality; None where nothing is known."""

WindowExpert = Callable[[Float[Array, "p b n c"], Told], Float[Array, "p b n c"]]

BLOCK = 64
"""Windows of one expert that run together at inference."""


def weighted(
    experts: Sequence[WindowExpert],
    windows: Float[Array, "p b n c"],
    told: Told,
    weights: Float[Array, "b n e"],
) -> Float[Array, "p b n c"]:
    """Runs every expert on every window and adds the results with weights."""
    parts = [
        expert(windows, told) * weights[None, ..., i, None].astype(windows.dtype)
        for i, expert in enumerate(experts)
    ]
    return functools.reduce(jnp.add, parts)


def by_slots(
    experts: Sequence[WindowExpert],
    windows: Float[Array, "p b n c"],
    told: Told,
    expert_index: Int[Array, "b n"],
    slots: int,
) -> tuple[Float[Array, "p b n c"], Bool[Array, "b n"]]:
    """Runs each expert on at most `slots` windows of each image, in order of their place.

    Windows are moved by products with one-hot matrices, whose gradients are products too; no window
    leaves its image, so none travels between devices.

    Returns:
        The results, 0 for windows that found their expert full, and which those are.
    """
    results = jnp.zeros_like(windows)
    served = jnp.zeros(windows.shape[1:3], bool)
    for i, expert in enumerate(experts):
        chosen = expert_index == i
        rank = jnp.cumsum(chosen, axis=1) - 1
        taken = chosen & (rank < slots)
        places = jnp.arange(slots).reshape(1, 1, -1)
        move = (taken[..., None] & (rank[..., None] == places)).astype(windows.dtype)  # b n k
        outputs = expert(jnp.einsum("bnk,pbnc->pbkc", move, windows), told)
        results = results + jnp.einsum("bnk,pbkc->pbnc", move, outputs)
        served = served | taken
    return results, ~served


def by_blocks(
    experts: Sequence[WindowExpert],
    windows: Float[Array, "p b n c"],
    told: Told,
    expert_index: Int[Array, "b n"],
) -> Float[Array, "p b n c"]:
    """Runs only the chosen expert of each window; none is dropped. For inference.

    The windows of an image are sorted by expert and cut into blocks of one expert each. Their
    number is fixed: the last block of every expert may be partly empty. Images come one after the
    other, so that the memory beside windows and results is that of a block.
    """
    devices = num_devices()
    if devices == 1 or windows.shape[1] % devices:
        return _image_by_image(experts, windows, told, expert_index)
    axes = jax.sharding.get_abstract_mesh().axis_names
    whole, images = PartitionSpec(), PartitionSpec(None, axes)
    local = jax.shard_map(
        _image_by_image,
        in_specs=(whole, images, PartitionSpec(axes), PartitionSpec(axes)),
        out_specs=images,
        check_vma=False,
    )
    return local(list(experts), windows, told, expert_index)


def _image_by_image(
    experts: Sequence[WindowExpert],
    windows: Float[Array, "p b n c"],
    told: Told,
    expert_index: Int[Array, "b n"],
) -> Float[Array, "p b n c"]:
    if windows.shape[1] == 1:
        return _in_blocks(experts, windows, told, expert_index)

    def run(_: None, image: tuple[Array, Told, Array]) -> tuple[None, Array]:
        windows, told, index = image
        return None, _in_blocks(experts, windows.swapaxes(0, 1), told, index)[:, 0]

    singly = jax.tree.map(lambda x: x[:, None], (windows.swapaxes(0, 1), told, expert_index))
    _, results = jax.lax.scan(run, None, singly)
    return results.swapaxes(0, 1)


def _in_blocks(
    experts: Sequence[WindowExpert],
    windows: Float[Array, "p 1 n c"],
    told: Float[Array, " 1"] | None,
    expert_index: Int[Array, "1 n"],
) -> Float[Array, "p 1 n c"]:
    block_expert, members = _plan(expert_index[0], len(experts))

    def run(results: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
        expert, members = block
        taken = jnp.take(windows, members, axis=2, mode="clip")
        result = jax.lax.switch(expert, list(experts), taken, told)
        return results.at[:, :, members].set(result, mode="drop", unique_indices=True), None

    results, _ = jax.lax.scan(run, jnp.zeros_like(windows), (block_expert, members))
    return results


def _plan(
    chosen: Int[Array, " windows"], num_experts: int
) -> tuple[Int[Array, " blocks"], Int[Array, "blocks members"]]:
    """Returns each block's expert and its windows; empty places have numbers beyond the last."""
    windows = chosen.shape[0]
    num_blocks = min(-(-windows // BLOCK) + num_experts - 1, windows)
    experts = jnp.arange(num_experts)
    counts = jnp.sum(chosen.reshape(-1, 1) == experts.reshape(1, -1), axis=0)
    blocks = -(-counts // BLOCK)
    ends = jnp.cumsum(blocks)
    block_expert = jnp.searchsorted(ends, jnp.arange(num_blocks), side="right")
    block_expert = jnp.minimum(block_expert, num_experts - 1).astype(jnp.int32)
    order = jnp.argsort(chosen, stable=True)
    first_rank = (jnp.cumsum(counts) - counts)[chosen[order]]
    first_slot = ((ends - blocks) * BLOCK)[chosen[order]]
    slots = first_slot + jnp.arange(windows) - first_rank
    empty = windows + jnp.arange(num_blocks * BLOCK, dtype=jnp.int32)
    members = empty.at[slots].set(order.astype(jnp.int32))
    return block_expert, members.reshape(num_blocks, BLOCK)
