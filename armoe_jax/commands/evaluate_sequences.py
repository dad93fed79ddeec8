"""The part of `armoe-jax evaluate` for sequences of YUV pictures, .y4m and .yuv."""

import argparse
import sys
from pathlib import Path
from typing import Any

from armoe_jax.checkpoints.shipped import CODEC_MODEL
from armoe_jax.commands.options import Restorers, model_name
from armoe_jax.video.options import add_sample_arguments, sample_options

_FOR_IMAGES = ("jpeg_quality", "crop_border", "csv", "expert_usage", "save_images", "set", "qp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of sequences."""
    group = parser.add_argument_group(
        "sequences of pictures, if --gt and --lq name .y4m or .yuv files or folders of them"
    )
    add_sample_arguments(group)


def names_sequences(args: argparse.Namespace) -> bool:
    """Says whether the originals are sequences of YUV pictures (of a folder: these, no images)."""
    from armoe_jax.evaluation.sequences import sequences_at
    from armoe_jax.images.files import images_in

    path = Path(args.gt)
    if not path.exists() or not sequences_at(path):
        return False
    try:
        return path.is_file() or not images_in(path)
    except ValueError:
        return True


def run(args: argparse.Namespace) -> int:
    """Evaluates, prints the table, and writes what is asked for."""
    from armoe_jax.evaluation.sequences import (
        count_frames,
        evaluate_sequences,
        pairs_of_sequences,
        sequence_table,
    )
    from armoe_jax.runtime.files import write_atomically
    from armoe_jax.runtime.json_files import write_json
    from armoe_jax.runtime.progress import Progress

    for name in _FOR_IMAGES:
        if getattr(args, name):
            raise ValueError(f"--{name.replace('_', '-')} is for images, not for {args.gt}")
    restorer = Restorers(args)(model_name(args, CODEC_MODEL))
    if restorer.config.scale > 1:
        raise ValueError(
            f"sequences are compared at their own size; the network scales by "
            f"{restorer.config.scale}"
        )
    pairs = pairs_of_sequences(Path(args.gt), Path(args.lq))
    options = sample_options(args)
    with Progress(count_frames(pairs, options), "evaluating", "frame") as progress:

        def restore(picture: Any) -> Any:
            restored = restorer(picture)
            progress.advance(pixels=picture.shape[0] * picture.shape[1])
            return restored

        evaluation = evaluate_sequences(restore, pairs, options)
    table = sequence_table(evaluation)
    if args.json:
        write_json(args.json, evaluation.to_dict())
    if args.markdown:
        write_atomically(args.markdown, f"{table}\n")
    sys.stdout.write(f"{table}\n")
    return 0
