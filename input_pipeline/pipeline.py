"""The input pipeline: random access to training batches, and the pairs to evaluate on.

    source -> shuffle -> repeat -> random patches -> (mixture) -> batch -> this process's batches
           -> batches from the start step on -> workers

Batch n depends only on the seed and n: not on workers, processes or where reading began. Every map
with randomness precedes batching, and batching precedes the workers.
"""

import dataclasses
import hashlib
import math
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import overload

import grain  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
from absl import flags

from armoe_jax.images.jpeg import encode_jpeg
from input_pipeline.cache import cut_into_records, map_into_memory
from input_pipeline.example import Batch, Pair
from input_pipeline.settings import Component, DataConfig, Fields, default_config
from input_pipeline.skipping import SkippingPairs
from input_pipeline.sources import (
    FilePairs,
    PairFiles,
    PairSource,
    list_files,
    open_eval_files,
    open_source,
)
from input_pipeline.transforms import (
    JPEGDegradation,
    Patches,
    RandomPatches,
    collate,
)
from input_pipeline.workers import deaf_children, start_worker

__all__ = [
    "EvalPairs",
    "TrainLoader",
    "default_config",
    "eval_pairs",
    "list_training_set",
    "train_dataset",
    "train_loader",
]

MIN_SHUFFLED = 8192
"""Small sources are repeated to this length before shuffling: Grain's shuffle of an index walks
through cycles and takes a millisecond for 20 elements, but microseconds for thousands."""

ENDLESS = 2**50
"""Elements after which a source would end. A mixture's length is this by a weight: 64 bits hold it,
as they do not where Grain repeats without end and a batch is of one element."""


def train_dataset(
    data_config: Fields,
    *,
    batch_size: int,
    seed: int,
    scale: int = 1,
    in_chans: int = 3,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.MapDataset[Batch]:
    """Returns training batches with random access: element n is batch n of this process.

    Args:
        data_config: The fields of `default_config` (those that differ from it).
        batch_size: Of the global batch.
        seed: Decides everything that is random.
        scale: Side of gt over side of lq.
        in_chans: 3 for RGB, 1 for gray.
        process_index: Of this process; it gets the contiguous slice of each global batch.
        process_count: Number of processes.

    Returns:
        An endless dataset of dictionaries: `lq` float32 (b, h, w, c) in [0, 1], `gt` float32
        (b, h * scale, w * scale, c), labels as in `Batch`; b = batch_size / process_count.

    Raises:
        KeyError: If a field does not exist.
        TypeError: If a field has the wrong type.
        ValueError: If values do not fit together, or images are smaller than a patch.
        FileNotFoundError: If data are missing; the message names the command that builds them.
    """
    config = DataConfig.from_mapping(data_config)
    _check_sharding(batch_size, process_index, process_count, config.patches_per_image)
    components = config.components()
    datasets = [
        _component_dataset(component, config, scale, in_chans, seed=_fold(seed, number))
        for number, component in enumerate(components)
    ]
    mixed = (
        datasets[0]
        if len(datasets) == 1
        else grain.MapDataset.mix(datasets, weights=[item.weight for item in components])
    )
    images = batch_size // process_count // config.patches_per_image
    return mixed.batch(images, batch_fn=collate)[process_index::process_count]


def _component_dataset(
    component: Component, config: DataConfig, scale: int, in_chans: int, *, seed: int
) -> grain.MapDataset[Patches]:
    pairs = open_source(component, config, scale=scale, in_chans=in_chans)
    source = cached(SkippingPairs(pairs, config.max_damaged), config, scale=scale)
    on_the_fly = component.source == "jpeg"
    patches = RandomPatches(
        size=config.patch_size,
        scale=scale,
        count=config.patches_per_image,
        augment=config.augment,
        grid=component.patch_grid,
        degradation=(
            JPEGDegradation(
                component.jpeg_quality,
                component.jpeg_subsampling,
                component.jpeg_on_grid,
                component.jpeg_twice,
            )
            if on_the_fly
            else None
        ),
    )
    repeats = max(1, math.ceil(MIN_SHUFFLED / len(source)))
    dataset = grain.MapDataset.source(source).seed(seed).repeat(repeats).shuffle()
    return dataset.repeat(ENDLESS // len(dataset)).random_map(patches)


def cached(source: PairSource, config: DataConfig, *, scale: int = 1) -> PairSource:
    """Returns a source behind the cache that the settings ask for."""
    if config.cache == "memory":
        return map_into_memory(source, config.cache_folder())
    if config.cache == "array_record":
        return cut_into_records(
            source,
            config.cache_folder(),
            size=config.subimage_size,
            step=config.subimage_step,
            scale=scale,
        )
    return source


def _fold(seed: int, number: int) -> int:
    """Returns a seed of 32 bits for one of several independent streams."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _check_sharding(batch_size: int, index: int, count: int, patches_per_image: int) -> None:
    if count < 1 or not 0 <= index < count:
        raise ValueError(f"process_index is {index} of {count}; expected 0 to {count - 1}")
    if batch_size < 1 or batch_size % count:
        raise ValueError(f"batch_size {batch_size} does not divide among {count} processes")
    if (batch_size // count) % patches_per_image:
        raise ValueError(
            f"batch_size {batch_size} on {count} processes is not a multiple of "
            f"data.patches_per_image {patches_per_image}"
        )


class TrainLoader(Iterator[Batch]):
    """Training batches in order; a context manager that stops its threads and workers.

    Args:
        dataset: The batches, cut to the steps wanted.
        config: Settings of workers and prefetching.
    """

    def __init__(self, dataset: grain.MapDataset[Batch], config: DataConfig) -> None:
        options = grain.ReadOptions(
            num_threads=config.num_threads, prefetch_buffer_size=config.prefetch
        )
        stream = dataset.to_iter_dataset(options)
        if config.num_workers > 0:
            if not flags.FLAGS.is_parsed():  # Grain reads them in its workers
                flags.FLAGS.mark_as_parsed()
            stream = stream.mp_prefetch(
                grain.MultiprocessingOptions(
                    num_workers=config.num_workers, per_worker_buffer_size=config.prefetch
                ),
                worker_init_fn=start_worker,
            )
        with deaf_children():
            self._iterator = iter(stream)
        self._shared_memory = config.num_workers > 0
        self._started = False
        # Also where nobody calls `close`: workers that are left over at exit are waited for.
        self._finalizer = weakref.finalize(self, self._iterator.close)

    def __next__(self) -> Batch:
        if not self._finalizer.alive:
            raise StopIteration
        if self._started:
            batch = next(self._iterator)
        else:
            with deaf_children():  # workers start with the first batch
                batch = next(self._iterator)
            self._started = True
        if not self._shared_memory:
            return batch
        # Workers' arrays lie in shared memory that must be gone before this process ends.
        return Batch(
            lq=np.array(batch["lq"]),
            gt=np.array(batch["gt"]),
            qp=np.array(batch["qp"]),
            codec=np.array(batch["codec"]),
            log2_step=np.array(batch["log2_step"]),
            steps=np.array(batch["steps"]),
        )

    def close(self) -> None:
        """Stops reading; the iterator then ends."""
        self._finalizer()

    def __enter__(self) -> "TrainLoader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def train_loader(
    data_config: Fields,
    *,
    batch_size: int,
    seed: int,
    num_steps: int,
    start_step: int = 0,
    scale: int = 1,
    in_chans: int = 3,
    process_index: int = 0,
    process_count: int = 1,
) -> TrainLoader:
    """Returns an iterator over the batches from `start_step` to `num_steps`, exclusively.

    Resuming at a step gives exactly the batches that an uninterrupted run would have had, with any
    number of workers. Arguments and errors are those of `train_dataset`.
    """
    if not 0 <= start_step <= num_steps:
        raise ValueError(f"start_step is {start_step}, expected 0 to num_steps {num_steps}")
    dataset = train_dataset(
        data_config,
        batch_size=batch_size,
        seed=seed,
        scale=scale,
        in_chans=in_chans,
        process_index=process_index,
        process_count=process_count,
    )
    return TrainLoader(dataset[start_step:num_steps], DataConfig.from_mapping(data_config))


def list_training_set(data_config: Fields, *, scale: int = 1) -> dict[str, list[int] | str]:
    """Returns what the training images are, to notice that they have changed.

    Args:
        data_config: The fields of `default_config` (those that differ from it).
        scale: Side of gt over side of lq.

    Returns:
        Name of each pair (after the number of its component, in a mixture) -> sizes of its files
        in bytes: paths and times differ between copies of one set. The split of a TFDS builder is
        one entry, with the builder's checksum.

    Raises:
        KeyError, TypeError, ValueError, FileNotFoundError: As `train_dataset`.
    """
    config = DataConfig.from_mapping(data_config)
    components = config.components()
    listed: dict[str, list[int] | str] = {}
    for number, component in enumerate(components):
        prefix = f"{number}/" if len(components) > 1 else ""
        if component.source == "tfds":
            info = (Path(component.root).expanduser() / "dataset_info.json").read_bytes()
            listed[f"{prefix}{component.split}"] = hashlib.sha256(info).hexdigest()
            continue
        for pair in list_files(component, config, scale=scale):
            quality = f"@{pair.qp}" if len(component.qualities) > 1 else ""
            files = [path for path in (pair.gt, pair.lq) if path is not None]
            listed[f"{prefix}{pair.name}{quality}"] = [path.stat().st_size for path in files]
    return listed


@dataclasses.dataclass(frozen=True)
class EvalPairs(Sequence[Pair]):
    """Evaluation pairs, read when asked for.

    Attributes:
        names: Of the images.
        source: The pairs themselves.
        jpeg_quality: Quality at which inputs are coded on the fly; 0 if the source has them.
        jpeg_subsampling: Likewise.
    """

    names: tuple[str, ...]
    source: PairSource
    jpeg_quality: int = 0
    jpeg_subsampling: str = "4:2:0"

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Pair: ...

    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...

    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        name = self.names[index]
        example = self.source[range(len(self))[index]]
        if not self.jpeg_quality:
            return Pair(name, example.lq, example.gt)
        lq, coding = encode_jpeg(
            example.gt, quality=self.jpeg_quality, subsampling=self.jpeg_subsampling
        )
        return Pair(name, lq, example.gt, coding)


def eval_pairs(data_config: Fields, *, scale: int = 1, in_chans: int = 3) -> EvalPairs:
    """Returns the pairs to evaluate on, whole images.

    Without `eval_gt` these are the source's own evaluation images ("embedded" and "tfds" have
    some). Inputs come from `eval_lq`; without it they are made by bicubic reduction at a scale
    above 1, and as JPEG of `eval_jpeg_quality` for source "jpeg".

    Args:
        data_config: The fields of `default_config` (those that differ from it).
        scale: Side of gt over side of lq.
        in_chans: 3 for RGB, 1 for gray.

    Raises:
        KeyError, TypeError, ValueError, FileNotFoundError: As `train_dataset`.
    """
    config = DataConfig.from_mapping(data_config)
    if config.source == "tfds" and not config.eval_gt:
        from input_pipeline.tfds_source import TfdsPairs

        pairs = TfdsPairs(config.root, config.eval_split, scale=scale, in_chans=in_chans)
        return EvalPairs(tuple(pairs.names()), pairs)
    files: Sequence[PairFiles] = open_eval_files(config, scale=scale)
    made_here = config.source == "jpeg" and files[0].lq is None
    source = FilePairs(tuple(files), scale, in_chans, config.halve_jpeg and made_here)
    source.check_sizes(smallest=1)
    return EvalPairs(
        tuple(pair.name for pair in files),
        source,
        jpeg_quality=config.eval_jpeg_quality if made_here else 0,
        jpeg_subsampling=config.jpeg_subsampling[0],
    )
