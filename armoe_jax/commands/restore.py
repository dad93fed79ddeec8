"""`armoe-jax restore`: cleans image files and videos."""

import argparse
import dataclasses
import itertools
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from armoe_jax.checkpoints.shipped import model_for_codec, model_for_image
from armoe_jax.commands.options import (
    Restorers,
    add_model_arguments,
    add_restorer_arguments,
    model_name,
)
from armoe_jax.runtime.errors import one_line, tell_of_item
from armoe_jax.video import add_arguments as add_video_arguments

if TYPE_CHECKING:
    import numpy as np

    from armoe_jax.images.io import Picture
    from armoe_jax.images.jpeg import JpegCoding
    from armoe_jax.restore import Restorer

HELP = "Remove compression artifacts from images (files, folders, patterns) and videos."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="image file, folder of images, video file, or pattern",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="output file (one input, and the suffix of an image or video), else a folder",
    )
    parser.add_argument(
        "--suffix", default="", help="added to names in the folder, such as _restored"
    )
    parser.add_argument(
        "--format",
        default="",
        metavar="EXT",
        help="png, jpg, webp, tiff, avif, bmp or ppm (default: the input's; for JPEG files png "
        "keeps all that is gained)",
    )
    parser.add_argument(
        "--quality",
        type=int,
        choices=range(1, 101),
        metavar="1-100",
        help="of JPEG (default 99, chroma 4:4:4; loses a part of what was gained), AVIF (90) and "
        "WebP (lossless)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    parser.add_argument(
        "--compare",
        action="store_true",
        help="also write NAME_compare.png: input, restored image, and the part that changed most",
    )
    add_model_arguments(parser)
    add_restorer_arguments(parser)
    add_video_arguments(parser)


@dataclasses.dataclass(frozen=True)
class Item:
    """One file to restore.

    Attributes:
        index: Its place among the images, or among the videos.
        source: What to read.
        target: What to write.
        model: Checkpoint of the network that restores it.
    """

    index: int
    source: Path
    target: Path
    model: str


def run(args: argparse.Namespace) -> int:
    """Restores every file; returns 1 if some failed."""
    from absl import logging

    from armoe_jax.video.files import split_inputs

    logging.set_verbosity(logging.INFO)
    videos, others = split_inputs(args.inputs)
    images = _image_items(others, args) if others else []
    clips = _video_items(videos, args, alone=not others) if videos else []
    restorers = Restorers(args)
    # Networks are loaded before anything is restored: bad usage leaves nothing half done.
    unsuited = _check_options([item.model for item in (*images, *clips)], restorers)
    failed = _run_images(images, args, restorers, unsuited) if images else 0
    return max(failed, _run_videos(clips, args, restorers, unsuited) if clips else 0)


def _image_items(inputs: list[str], args: argparse.Namespace) -> list[Item]:
    from armoe_jax.images.files import find_images, output_paths
    from armoe_jax.images.io import format_of

    sources = find_images(inputs)
    targets = output_paths(sources, args.output, name_suffix=args.suffix, image_format=args.format)
    for target in targets:
        format_of(target)
    models = (model_name(args, model_for_image(source)) for source in sources)
    return list(map(Item, itertools.count(), sources, targets, models))


def _video_items(videos: list[Path], args: argparse.Namespace, *, alone: bool) -> list[Item]:
    from armoe_jax.video.codec import codec_of
    from armoe_jax.video.files import output_paths

    targets = output_paths(videos, args.output, name_suffix=args.suffix, alone=alone)
    models = (model_name(args, model_for_codec(codec_of(video))) for video in videos)
    return list(map(Item, itertools.count(), videos, targets, models))


def _run_videos(
    items: list[Item], args: argparse.Namespace, restorers: Restorers, unsuited: dict[str, str]
) -> int:
    from armoe_jax.video import options_from_args
    from armoe_jax.video.files import restore_files

    suited = {item.source: item for item in items if item.model not in unsuited}
    failures = [(item.source, unsuited[item.model]) for item in items if item.model in unsuited]
    failures += restore_files(
        list(suited),
        [item.target for item in suited.values()],
        lambda video: restorers(suited[video].model),
        options=options_from_args(args),
        overwrite=args.overwrite,
        report=sys.stdout.write,
    )
    for video, message in failures:
        _report_failure(video, message)
    return 1 if failures else 0


def _run_images(
    items: list[Item], args: argparse.Namespace, restorers: Restorers, unsuited: dict[str, str]
) -> int:
    from armoe_jax.images.io import format_of

    start = time.monotonic()
    failures = _restore_all(items, args, restorers, unsuited)
    done = len(items) - len(failures)
    sys.stdout.write(
        f"restored {done} of {len(items)} images in {time.monotonic() - start:.1f} s: "
        f"{args.output}\n"
    )
    if any(format_of(item.target) == "JPEG" for item in items) and args.quality is None:
        sys.stdout.write(
            "saved as JPEG of quality 99, which costs 0.01 to 0.08 dB of what was gained (inputs "
            "of quality 10 to 80); --format png keeps all\n"
        )
    if args.compare and done:
        shown = _comparison(items[0].target) if len(items) == 1 else _comparison(Path("*"))
        sys.stdout.write(f"to look at: {items[0].target.parent / shown.name}\n")
    for item, message in failures:
        _report_failure(item.source, message)
    return 1 if failures else 0


def _restore_all(
    items: list[Item], args: argparse.Namespace, restorers: Restorers, unsuited: dict[str, str]
) -> list[tuple[Item, str]]:
    """Restores files, in order for each network; returns those that failed, and why."""
    from armoe_jax.runtime.progress import Progress

    by_model: dict[str, list[Item]] = {}
    for item in items:
        by_model.setdefault(item.model, []).append(item)
    failures: list[tuple[Item, str]] = []
    with Progress(len(items), "restoring") as progress:
        for name, its_items in by_model.items():
            if name in unsuited:
                failures += [(item, unsuited[name]) for item in its_items]
                progress.advance(len(its_items))
                continue
            restorer = restorers(name)
            for group in _groups(its_items, restorer.batch_size):
                failed, pixels = _restore_group(group, restorer, args)
                failures += failed
                progress.advance(len(group), pixels=pixels)
    return failures


def _check_options(names: Iterable[str], restorers: Restorers) -> dict[str, str]:
    """Loads the networks; returns why some do not take the options, such as --coded-at.

    Raises:
        FileNotFoundError: If the weights for some do not come with this installation.
        ValueError: If none takes the options: that is bad usage.
    """
    names = dict.fromkeys(names)
    restorers.require(names)
    refused: dict[str, ValueError] = {}
    for name in names:
        try:
            restorers(name)
        except ValueError as error:
            refused[name] = error
    if len(refused) == len(names):
        raise next(iter(refused.values()))
    return {name: f"{name}: {one_line(error)}" for name, error in refused.items()}


def _groups(items: list[Item], batch_size: int) -> Iterator[list[Item]]:
    """Cuts the list so that batches can be filled, but few images are held at once."""
    size = 1 if batch_size == 1 else 2 * batch_size
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _restore_group(
    group: list[Item], restorer: "Restorer", args: argparse.Namespace
) -> tuple[list[tuple[Item, str]], int]:
    """Restores a few files together; if that fails, one by one, to know which is to blame.

    Returns:
        Those that failed, and why; and how many pixels were read.
    """
    failures: list[tuple[Item, str]] = []
    opened: list[tuple[Item, Picture]] = []
    for item in group:
        try:
            opened.append((item, _open(item, args)))
        except (ValueError, OSError, MemoryError) as error:
            failures.append((item, _reason(error)))
    pixels = sum(picture.pixels.shape[0] * picture.pixels.shape[1] for _, picture in opened)
    try:
        _restore_opened(opened, restorer, args)
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        if len(opened) == 1:
            return [*failures, (opened[0][0], _reason(error))], pixels
        for one in opened:
            try:
                _restore_opened([one], restorer, args)
            except (ValueError, OSError, MemoryError, RuntimeError) as single_error:
                failures.append((one[0], _reason(single_error)))
    return failures, pixels


def _open(item: Item, args: argparse.Namespace) -> "Picture":
    from armoe_jax.images.io import check_can_hold, format_of, read_image
    from armoe_jax.runtime.files import refuse_existing

    for target in (item.target, *([_comparison(item.target)] if args.compare else [])):
        refuse_existing(target, overwrite=args.overwrite)
    picture = read_image(item.source)
    check_can_hold(format_of(item.target), picture)
    return picture


def coding_of(source: Path, pixels: "np.ndarray", restorer: "Restorer") -> "JpegCoding | None":
    """Returns how an image was coded as JPEG, and says it, for a network that makes use of that.

    By its file; by its pixels, if they tell that it was coded before, more coarsely.
    """
    from absl import logging

    from armoe_jax.images.jpeg import JpegCoding
    from armoe_jax.images.jpeg_history import find_codings

    if not restorer.config.interval_head:
        return None
    found = find_codings(source, pixels)
    if isinstance(found.file, JpegCoding):
        logging.info("%s: %s", source.name, found.file.describe())
    if found.first is not None:
        logging.info("%s: its pixels show a coding at %s", source.name, found.first.describe())
    elif found.believed is None:
        reason = f"{found.file}, and they show no trace of a coding"
        logging.info("%s: restored by its pixels alone, since %s", source.name, reason)
    return found.believed


def _restore_opened(
    opened: "list[tuple[Item, Picture]]", restorer: "Restorer", args: argparse.Namespace
) -> None:
    from armoe_jax.images.comparison import compare
    from armoe_jax.images.io import write_image

    results = restorer.restore_images(
        (picture.pixels for _, picture in opened),
        indices=(item.index for item, _ in opened),
        codings=(coding_of(item.source, picture.pixels, restorer) for item, picture in opened),
    )
    for (item, picture), pixels in zip(opened, results, strict=True):
        alpha = _scaled_alpha(picture, restorer.config.scale)
        restored = dataclasses.replace(picture, pixels=pixels, alpha=alpha)
        write_image(item.target, restored, quality=args.quality)
        if args.compare:
            pictures = {"input": picture.pixels, "restored": pixels}
            write_image(_comparison(item.target), compare(pictures))


def _comparison(target: Path) -> Path:
    """Returns where the comparison of a restored image goes."""
    return target.with_name(f"{target.stem}_compare.png")


def _scaled_alpha(picture: "Picture", scale: int):
    from armoe_jax.ops.resize import resize_levels

    if picture.alpha is None or scale == 1:
        return picture.alpha
    return resize_levels(picture.alpha, scale)


def _report_failure(path: Path, message: str) -> None:
    # Readers name the file themselves; once is enough.
    sys.stderr.write(f"failed: {path}: {message.removeprefix(f'{path}: ')}\n")


def _reason(error: BaseException) -> str:
    text = one_line(error)
    if "RESOURCE_EXHAUSTED" in text or isinstance(error, MemoryError):
        return "out of memory; give --tile 256 or another smaller tile"
    return tell_of_item(error)
