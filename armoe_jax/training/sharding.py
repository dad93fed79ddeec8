"""The device mesh, and where the arrays of a training run live on it.

One mesh axis, `data`. A batch is split over it. Parameters are whole on every device, or, with
FSDP, split over the same axis together with their moving average and the optimiser's moments.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

PyTree = Any

DATA_AXIS = "data"


def make_mesh(num_devices: int = 0) -> Mesh:
    """Returns a mesh with the one axis `data`.

    Args:
        num_devices: How many of the devices of all processes to use; 0 for all of them.

    Raises:
        ValueError: There are not that many devices, or a process would be left out.
    """
    devices = jax.devices()
    if num_devices < 0 or num_devices > len(devices):
        raise ValueError(
            f"sharding.num_devices is {num_devices}, but there are {len(devices)} devices; "
            "use 0 for all of them"
        )
    if 0 < num_devices < len(devices) and jax.process_count() > 1:
        raise ValueError(
            f"sharding.num_devices is {num_devices}; with {jax.process_count()} processes all "
            f"{len(devices)} devices must be used: set it to 0"
        )
    chosen = devices[: num_devices or len(devices)]
    return jax.make_mesh((len(chosen),), (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=chosen)


def check_batch(
    batch_size: int, *, mesh: Mesh, accumulation_steps: int = 1, statistics: bool = True
) -> None:
    """Checks that a global batch can be split over the mesh, for each micro-batch.

    Args:
        batch_size: Images of a step.
        mesh: What they are split over.
        accumulation_steps: Micro-batches of a step.
        statistics: Whether the network has batch statistics, which need two images.

    Raises:
        ValueError: It cannot, or a micro-batch has fewer than the two images BatchNorm needs.
    """
    if accumulation_steps < 1:
        raise ValueError(f"train.accumulation_steps is {accumulation_steps}; it must be 1 or more")
    pieces = mesh.size * accumulation_steps
    if batch_size < 1 or batch_size % pieces:
        accumulating = f" x {accumulation_steps} micro-batches" if accumulation_steps > 1 else ""
        raise ValueError(
            f"train.batch_size {batch_size} cannot be divided over {mesh.size} devices"
            f"{accumulating}; use a multiple of {pieces}, or fewer devices "
            "(--config.sharding.num_devices=N)"
        )
    if statistics and batch_size // accumulation_steps < 2:
        raise ValueError(
            f"train.batch_size {batch_size} gives micro-batches of "
            f"{batch_size // accumulation_steps}; batch statistics need at least 2 images"
        )


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of an array that is whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a batch: its first axis over `data`."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def fsdp_spec(shape: tuple[int, ...], num_devices: int, num_whole_axes: int = 0) -> PartitionSpec:
    """Returns the partition of one array: its largest axis that the devices divide, if any.

    The first of equally large axes is taken. An array without such an axis is replicated. The
    first `num_whole_axes` axes are not split.
    """
    divisible = [
        axis
        for axis, size in enumerate(shape)
        if axis >= num_whole_axes and size and size % num_devices == 0
    ]
    if not divisible or num_devices == 1:
        return PartitionSpec()
    largest = max(divisible, key=lambda axis: shape[axis])
    return PartitionSpec(*(DATA_AXIS if axis == largest else None for axis in range(len(shape))))


def tree_shardings(
    tree: PyTree,
    mesh: Mesh,
    *,
    fsdp: bool,
    num_whole_axes: Callable[[Sequence[Any]], int] = lambda path: 0,
) -> PyTree:
    """Returns one sharding per array of a tree (arrays or their shapes).

    Args:
        tree: Arrays or their shapes.
        mesh: From `make_mesh`.
        fsdp: Whether arrays are split.
        num_whole_axes: Key path of an array -> how many of its leading axes must not be split.
    """
    if not fsdp:
        return jax.tree.map(lambda _: replicated(mesh), tree)
    return jax.tree.map_with_path(
        lambda path, x: NamedSharding(mesh, fsdp_spec(x.shape, mesh.size, num_whole_axes(path))),
        tree,
    )


@dataclasses.dataclass(frozen=True)
class ShardingSummary:
    """How much of a tree is split over the mesh.

    Attributes:
        total_bytes: Size of the whole tree.
        sharded_bytes: Size of the arrays that are split.
        bytes_per_device: What one device holds.
    """

    total_bytes: int
    sharded_bytes: int
    bytes_per_device: int

    def __str__(self) -> str:
        share = self.sharded_bytes / self.total_bytes if self.total_bytes else 0.0
        return (
            f"{self.total_bytes / 2**20:.1f} MiB, {share:.1%} of it split over the mesh, "
            f"{self.bytes_per_device / 2**20:.1f} MiB on each device"
        )


def summarize(tree: PyTree, shardings: PyTree) -> ShardingSummary:
    """Returns how a tree is spread by its shardings."""
    total = split = per_device = 0
    for leaf, sharding in zip(jax.tree.leaves(tree), jax.tree.leaves(shardings), strict=True):
        item_size = np.dtype(leaf.dtype).itemsize
        size = int(np.prod(leaf.shape)) * item_size
        local = int(np.prod(sharding.shard_shape(leaf.shape))) * item_size
        total += size
        per_device += local
        split += size if local < size else 0
    return ShardingSummary(total, split, per_device)


def place(tree: PyTree, shardings: PyTree) -> PyTree:
    """Returns host arrays, equal on every process, as global arrays with the given shardings."""

    def place_one(leaf: Any, sharding: NamedSharding) -> jax.Array:
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(place_one, tree, shardings)


def place_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Returns this process's slice of a batch as part of the global batch on the mesh."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), batch
    )


def gather_on_host(tree: PyTree, mesh: Mesh) -> PyTree:
    """Returns global arrays, split or not, as whole NumPy arrays on every process."""
    whole: Callable[[PyTree], PyTree] = jax.jit(lambda x: x, out_shardings=replicated(mesh))
    return jax.device_get(whole(tree))
