"""How many training patches a second one core reads, from each kind of storage."""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armoe_jax.runtime.files import write_atomically
from input_pipeline.cache import cut
from input_pipeline.image_files import encode_png
from input_pipeline.pipeline import train_dataset
from input_pipeline.settings import DataConfig
from input_pipeline.sources import open_source


@dataclasses.dataclass(frozen=True)
class Throughput:
    """Speed of one thread.

    Attributes:
        name: What was read.
        patches_per_second: Patches (pairs of lq and gt) per second of CPU time.
        wall_patches_per_second: The same per second of wall time; lower on a busy machine.
        num_patches: How many were read.
    """

    name: str
    patches_per_second: float
    wall_patches_per_second: float
    num_patches: int


def measure(
    name: str,
    data_config: Mapping[str, Any],
    *,
    batch_size: int = 32,
    seconds: float = 2.0,
    scale: int = 1,
) -> Throughput:
    """Reads batches in this thread for some seconds of CPU time.

    Args:
        name: For the result.
        data_config: As for `pipeline.train_dataset`.
        batch_size: Patches per batch.
        seconds: CPU time to spend at least.
        scale: Side of gt over side of lq.
    """
    dataset = train_dataset(data_config, batch_size=batch_size, seed=0, scale=scale)
    for warm_up in range(2):
        dataset[warm_up]
    start, wall_start, step = time.process_time(), time.perf_counter(), 2
    while time.process_time() - start < seconds:
        dataset[step]
        step += 1
    num_patches = (step - 2) * batch_size
    return Throughput(
        name,
        num_patches / (time.process_time() - start),
        num_patches / (time.perf_counter() - wall_start),
        num_patches,
    )


def write_png_subimages(
    data_config: Mapping[str, Any], folder: Path, *, size: int, step: int
) -> dict[str, Any]:
    """Cuts the pairs of a config into PNG sub-images.

    Returns:
        The config that reads them: source "folder" with `gt` and `lq` below `folder`.
    """
    config = DataConfig.from_mapping(data_config)
    source = open_source(config, config, scale=1, in_chans=3)
    for part in ("gt", "lq"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(len(source)):
        for index, pair in enumerate(cut(source[number], size, step, scale=1)):
            name = f"{number:04d}_s{index:03d}.png"
            write_atomically(folder / "gt" / name, encode_png(pair.gt))
            write_atomically(folder / "lq" / name, encode_png(pair.lq))
    return {"source": "folder", "gt": str(folder / "gt"), "lq": str(folder / "lq")}


def compare_storage(
    data_config: Mapping[str, Any],
    work_dir: Path,
    *,
    seconds: float = 2.0,
    patch_size: int = 64,
) -> list[Throughput]:
    """Measures every kind of storage with the pairs of a config, in batches of 32.

    Args:
        data_config: Where the pairs are; the other fields are set here.
        work_dir: For sub-images and caches.
        seconds: CPU time for each measurement.
        patch_size: Side of the patches.
    """
    base = {**data_config, "patch_size": patch_size, "cache_dir": str(work_dir / "cache")}
    rows = [("PNG, whole images", base)]
    for size in (480, 240):
        folder = work_dir / f"sub{size}"
        pairs = {**base, **write_png_subimages(base, folder, size=size, step=size)}
        rows.append((f"PNG sub-images {size}x{size}", pairs))
        rows.append(
            (f"PNG sub-images {size}x{size}, 4 patches each", {**pairs, "patches_per_image": 4})
        )
    for size in (480, 240):
        cut_up = {"cache": "array_record", "subimage_size": size, "subimage_step": size}
        rows.append((f"ArrayRecord sub-images {size}x{size}", {**base, **cut_up}))
    rows.append(("memory-mapped decoded images", {**base, "cache": "memory"}))
    return [measure(name, config, seconds=seconds) for name, config in rows]
