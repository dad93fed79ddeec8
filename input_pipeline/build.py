"""Builds trees of compressed pairs from folders of images, in parallel, resumable at any point."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import math
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from armoe_jax.images.jpeg_header import is_jpeg
from armoe_jax.metrics import psnr, ssim
from armoe_jax.runtime.errors import one_line
from armoe_jax.runtime.files import (
    remove_leftovers,
    sha256_of,
    write_atomically,
    written_beside,
)
from armoe_jax.runtime.locks import locked
from input_pipeline import manifest
from input_pipeline.codecs import Codec, CodecOptions, get_codec
from input_pipeline.codecs.base import RGB
from input_pipeline.image_files import check_unique_stems, encode_png, halve, read_rgb
from input_pipeline.manifest import Record, Tree
from input_pipeline.workers import end_with_parent

LOCK = ".lock"


@dataclasses.dataclass(frozen=True)
class Job:
    """One source image and the trees that lack it."""

    source: Path
    trees: tuple[Tree, ...]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        job: The job.
        records: One for each of its trees; None where coding failed.
        failures: Why; one reason if the image itself is bad.
    """

    job: Job
    records: tuple[Record | None, ...]
    failures: tuple[str, ...] = ()


@dataclasses.dataclass
class Summary:
    """What a build did.

    Attributes:
        built: Images coded in this run, counted per tree.
        reused: Images that were there already.
        failures: Reasons why a source image was skipped, or is missing from a tree.
    """

    built: int = 0
    reused: int = 0
    failures: list[str] = dataclasses.field(default_factory=list[str])


Progress = Callable[[Outcome], None]


def build(
    sources: Sequence[Path],
    trees: Sequence[Tree],
    *,
    workers: int = 1,
    on_start: Callable[[int], None] = lambda num_jobs: None,
    on_outcome: Progress = lambda outcome: None,
) -> Summary:
    """Codes every source image into every tree and writes the manifests.

    Files appear under their names only when whole, and an image counts only when its record is
    written: after `kill -9` the next call does again only what was in work.

    Args:
        sources: Image files with different stems.
        trees: Where to and how.
        workers: Processes; 1 works in this one.
        on_start: Called with the number of images to be coded.
        on_outcome: Called after each of them.

    Returns:
        The summary; failed images are listed in it and are missing from the manifests.

    Raises:
        ValueError: If stems are not unique, a tree was built with other settings, or a tree holds
            an image that is not among the sources.
        OSError: If nothing more can be written, or another build works in one of the folders.
    """
    check_unique_stems(sources)
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected at least 1")
    with locked_trees(trees):
        return _build(sources, trees, workers, on_start, on_outcome)


@contextlib.contextmanager
def locked_trees(trees: Sequence[Tree]) -> Generator[None]:
    """Keeps other builds out of the trees' folders while the block runs.

    Raises:
        InUseError: Another build works in one of them.
    """
    with contextlib.ExitStack() as stack:
        for tree in trees:
            stack.enter_context(locked(tree.folder / LOCK))
        yield


def _build(
    sources: Sequence[Path],
    trees: Sequence[Tree],
    workers: int,
    on_start: Callable[[int], None],
    on_outcome: Progress,
) -> Summary:
    jobs, finished, summary = plan(sources, trees)
    on_start(len(jobs))
    for outcome in run_jobs(jobs, workers):
        summary.failures += outcome.failures
        for tree, record in zip(outcome.job.trees, outcome.records, strict=True):
            if record is not None:
                finished[tree.folder][record["name"]] = record
                summary.built += 1
        on_outcome(outcome)
    for tree in trees:
        _clean(tree)  # workers of a build that was killed may have lived on into this one
        manifest.finish(tree, list(finished[tree.folder].values()))
    summary.failures.sort()
    return summary


def _clean(tree: Tree) -> None:
    for part in manifest.PARTS:
        remove_leftovers(tree.folder / part)


def plan(
    sources: Sequence[Path], trees: Sequence[Tree]
) -> tuple[list[Job], dict[Path, dict[str, Record]], Summary]:
    """Makes the trees' folders and finds out what is done.

    Returns:
        What is left to do, the valid records by tree and name, and the count of those.

    Raises:
        ValueError: As `build`.
    """
    finished: dict[Path, dict[str, Record]] = {}
    stems = {path.stem for path in sources}
    for tree in trees:
        finished[tree.folder] = manifest.start(tree)
        _clean(tree)
        strangers = sorted(set(finished[tree.folder]) - stems)
        if strangers:
            raise ValueError(
                f"{tree.folder} holds images that are not in the source: {', '.join(strangers)}; "
                "choose another --out, or give the source it was built from"
            )
    jobs: list[Job] = []
    summary = Summary()
    for source in sources:
        try:
            checksum = sha256_of(source)
        except OSError:  # a link to nothing, no permission: whoever codes it will say so
            checksum = ""
        missing: list[Tree] = []
        for tree in trees:
            record = finished[tree.folder].get(source.stem)
            if record and _is_whole(tree, record, checksum):
                summary.reused += 1
            else:
                finished[tree.folder].pop(source.stem, None)
                for suffix in (".json", ".failed"):
                    (tree.records / f"{source.stem}{suffix}").unlink(missing_ok=True)
                missing.append(tree)
        if missing:
            jobs.append(Job(source, tuple(missing)))
    return jobs, finished, summary


def _is_whole(tree: Tree, record: Record, source_checksum: str) -> bool:
    paths = item_paths(tree, record["name"])
    same_source = record["checksums"]["source"] == source_checksum
    return same_source and all(path.is_file() for path in paths.values())


def item_paths(tree: Tree, name: str) -> dict[str, Path]:
    """Returns the three files of an image: gt, lq and bitstream."""
    suffix = get_suffix(tree.codec)
    return {
        "gt": tree.folder / "gt" / f"{name}.png",
        "lq": tree.folder / "lq" / f"{name}.png",
        "bitstream": tree.folder / "bitstreams" / f"{name}{suffix}",
    }


def get_suffix(codec: str) -> str:
    """Returns the suffix of a codec's bitstream files."""
    return manifest.CODECS[codec].suffix


def load_source(path: Path, which_to_halve: str) -> RGB:
    """Reads a source image as 8-bit RGB, halved if the rule says so."""
    image = read_rgb(path)
    if which_to_halve == "all" or (which_to_halve == "jpeg" and is_jpeg(path)):
        return halve(image)
    return image


@functools.lru_cache(maxsize=64)
def _codec(name: str, options: CodecOptions) -> Codec:
    return get_codec(name, options)


def build_item(job: Job) -> Outcome:
    """Codes one image into its trees; a bad image becomes a failure, a full disk an OSError."""
    name = job.source.stem
    try:
        image = load_source(job.source, job.trees[0].halve)
    except (ValueError, OSError, MemoryError) as error:
        for tree in job.trees:
            _discard(tree, name)
        return Outcome(job, (None,) * len(job.trees), (_reason(job.source, error),))
    records: list[Record | None] = []
    failures: list[str] = []
    written: Path | None = None
    for tree in job.trees:
        try:
            records.append(_code_into(tree, job.source, image, written))
            written = item_paths(tree, name)["gt"]
        except ValueError as error:
            _discard(tree, name)
            records.append(None)
            failures.append(_reason(job.source, error))
    return Outcome(job, tuple(records), tuple(failures))


def _reason(source: Path, error: Exception) -> str:
    text = one_line(error)
    return text if str(source) in text else f"{source}: {text}"


def _discard(tree: Tree, name: str) -> None:
    """Removes what an earlier build may have left of an image that cannot be coded now."""
    for path in item_paths(tree, name).values():
        path.unlink(missing_ok=True)


def _code_into(tree: Tree, source: Path, image: RGB, same_gt: Path | None) -> Record:
    """Codes an image, writes its three files and then its record."""
    coded = _codec(tree.codec, tree.options).code(image, tree.quality)
    paths = item_paths(tree, source.stem)
    _link_or_write(paths["gt"], same_gt, image)
    write_atomically(paths["lq"], encode_png(coded.image))
    write_atomically(paths["bitstream"], coded.bitstream)
    height, width = image.shape[:2]
    record: Record = {
        "name": source.stem,
        "qp": tree.quality,
        "width": width,
        "height": height,
        "bits": coded.bits,
        "bpp": round(coded.bits_per_pixel, 6),
        **measure(coded.image, image),
        "checksums": {
            "source": sha256_of(source),
            "gt": manifest.pixel_checksum(image),
            "lq": manifest.pixel_checksum(coded.image),
            "bitstream": hashlib.sha256(coded.bitstream).hexdigest(),
        },
    }
    manifest.add_record(tree, record)
    return record


def measure(lq: RGB, gt: RGB) -> dict[str, float | None]:
    """Returns psnr_y (None if infinite) and ssim_y, rounded to what every CPU agrees on."""
    decibels = psnr(lq, gt)
    similarity = ssim(lq, gt) if min(gt.shape[:2]) >= 11 else math.nan
    return {
        "psnr_y": round(decibels, 5) if math.isfinite(decibels) else None,
        "ssim_y": round(similarity, 7) if math.isfinite(similarity) else None,
    }


def _link_or_write(path: Path, same: Path | None, image: RGB) -> None:
    """Writes an image, or links to the file of another tree that holds the same."""
    if same is None:
        write_atomically(path, encode_png(image))
        return
    with written_beside(path) as new:
        try:
            os.link(same, new)
        except OSError:  # a file system without hard links
            shutil.copyfile(same, new)


def run_jobs(jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """Yields the outcome of each job, in the order of completion."""
    if workers == 1 or len(jobs) < 2:
        yield from map(build_item, jobs)
        return
    executor = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(jobs)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        futures = [executor.submit(build_item, job) for job in jobs]
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise OSError(
            "a worker process died (out of memory?); run the command again to continue, "
            "with fewer --workers"
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    end_with_parent()
