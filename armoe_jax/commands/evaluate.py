"""`armoe-jax evaluate`: restores a folder of coded images and compares it with the originals."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from armoe_jax.restorer_options import (
    add_model_arguments,
    add_restorer_arguments,
    load_restorer,
    model_name,
)

HELP = "Measure a network on a folder of coded images and one of their originals."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument("--gt", required=True, metavar="DIR", help="folder of originals")
    parser.add_argument(
        "--lq", required=True, metavar="DIR", help="folder of coded images of the same stems"
    )
    parser.add_argument(
        "--crop-border",
        type=int,
        default=0,
        metavar="N",
        help="pixels left out on every side before measuring (default: 0; papers: 0 for artifact "
        "removal, the scale for super-resolution)",
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures as JSON")
    parser.add_argument("--csv", metavar="FILE", help="write figures of each image as CSV")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables as Markdown")
    parser.add_argument("--save-images", metavar="DIR", help="keep restored images, NAME.png")
    published = parser.add_argument_group("published figures to print beside")
    published.add_argument(
        "--set",
        metavar="NAME",
        help="kodak24, mcmaster, cbsd68; set5, bsd100 (default: the name of the folder of "
        "originals, if it is one of these)",
    )
    published.add_argument("--qp", type=int, metavar="N", help="QP of the VVC images")
    add_model_arguments(parser)
    add_restorer_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluates, prints the table, and writes what is asked for."""
    from absl import logging

    from armoe_jax.atomic_file import write_atomically
    from armoe_jax.evaluate import evaluate_pairs
    from armoe_jax.evaluation_tables import image_table, summary_table, to_csv
    from armoe_jax.image_files import images_in, match_stems

    logging.set_verbosity(logging.INFO)
    paths = match_stems(images_in(args.gt), images_in(args.lq))
    restorer = load_restorer(args, model_name(args, paths[0][1]))
    scale = restorer.config.scale
    published = _published(args, scale)
    report = evaluate_pairs(
        restorer,
        _pairs(paths),
        scale=scale,
        crop_border=args.crop_border,
        save_images=args.save_images,
        extended=True,
    )
    if published:
        report["published"] = published
    summary = summary_table(report)
    if args.json:
        write_atomically(args.json, json.dumps(report, indent=2, allow_nan=False) + "\n")
    if args.csv:
        write_atomically(args.csv, to_csv(report))
    if args.markdown:
        write_atomically(args.markdown, f"{summary}\n\n{image_table(report)}\n")
    sys.stdout.write(f"{report['num_images']} images\n\n{summary}\n")
    if published:
        sys.stdout.write(f"\npaper: {published['set']}, {published['condition']}\n")
    return 0


def _published(args: argparse.Namespace, scale: int) -> dict[str, Any] | None:
    """Returns the paper's row for the named (or recognised) set, with what it belongs to."""
    from armoe_jax.published import SETS, published_row

    name = (args.set or Path(args.gt).name).lower()
    if args.set and name not in SETS:
        raise ValueError(f"--set {args.set!r} has no published figures; those that have: {SETS}")
    row = published_row(name, qp=args.qp, scale=scale)
    if row is None:
        if args.set:
            raise ValueError(
                f"the paper has no row for set {args.set!r} at QP {args.qp} and scale {scale}; "
                "give --qp 22, 27, 32 or 37 for artifact removal"
            )
        return None
    condition = f"bicubic x{scale}" if scale > 1 else f"VTM-20.0 all-intra, QP {args.qp}"
    return {"set": name, "qp": args.qp, "condition": condition, **row.to_dict()}


def _pairs(paths: list[tuple[Path, Path]]) -> Iterator[Any]:
    from armoe_jax.image_io import read_image
    from input_pipeline.example import Pair
    from input_pipeline.progress import Progress

    with Progress(len(paths), "evaluating") as progress:
        for gt, lq in paths:
            pair = [read_image(path) for path in (lq, gt)]
            for path, picture in zip((lq, gt), pair, strict=True):
                if picture.pixels.dtype.name != "uint8":
                    raise ValueError(f"{path}: {picture.pixels.dtype}; figures are for 8 bits")
                if picture.alpha is not None:
                    raise ValueError(f"{path}: has transparency; figures are for opaque images")
            yield Pair(gt.stem, *(_with_channels(picture.pixels) for picture in pair))
            progress.advance()


def _with_channels(pixels: Any) -> Any:
    return pixels[..., None] if pixels.ndim == 2 else pixels
