"""`armoe-jax build-dataset`: a folder of images in, pairs, bitstreams and a manifest out."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from input_pipeline.build import Summary
    from input_pipeline.manifest import Tree

HELP = "build a data set of compressed images with a real codec, or verify one (--verify)"

EMBEDDED = "embedded"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    add = parser.add_argument
    add("--out", required=True, type=Path, help="folder to build (or to verify)")
    add(
        "--source",
        nargs="+",
        default=[],
        help=f"folder(s) of images, or '{EMBEDDED}' for the photographs inside scikit-image",
    )
    add("--codec", nargs="+", default=["vvc"], help="vvc, vtm, hevc, avc, av1 or jpeg (several)")
    add(
        "--qp", nargs="+", type=int, default=[], help="QP of the video codecs, CRF of av1 (several)"
    )
    add("--quality", nargs="+", type=int, default=[], help="quality of jpeg (several)")
    add("--colors", default="clean", choices=("clean", "paper"), help="default: clean")
    add("--preset", default="", help="speed preset; default: medium (av1: 6)")
    add("--subsampling", default="", help="chroma of jpeg: 4:2:0 (default), 4:2:2 or 4:4:4")
    add(
        "--disable-filter",
        nargs="+",
        default=[],
        metavar="FILTER",
        help="alf, sao, deblocking, ...",
    )
    add("--lambda-modifier", type=float, default=0.0, help="vvc; default: 0.8 with preset medium")
    add(
        "--halve",
        default="none",
        choices=("none", "jpeg", "all"),
        help="reduce sources by two first",
    )
    add("--vtm-encoder", default="", metavar="EncoderApp", help="needed for codec vtm")
    add("--vtm-decoder", default="", metavar="DecoderApp", help="needed for codec vtm")
    add("--vtm-encoder-config", default="", metavar="CFG", help="cfg/encoder_intra_vtm.cfg")
    add("--workers", type=int, default=0, help="processes; default: one per core")
    add(
        "--beam",
        nargs="*",
        default=None,
        metavar="OPTION=VALUE",
        help="run on Apache Beam, such as: --beam runner=DirectRunner direct_num_workers=4",
    )
    add("--verify", action="store_true", help="check every file against the manifest afterwards")


def run(args: argparse.Namespace) -> int:
    """Builds and verifies as asked; returns 1 if an image failed."""
    from absl import logging

    logging.set_verbosity(logging.INFO)
    if not args.source and not args.verify:
        raise ValueError("--source is missing; give the folder of original images")
    failed = False
    if args.source:
        failed = not _build(args)
    if args.verify:
        failed = not _verify(args.out) or failed
    return int(failed)


def _build(args: argparse.Namespace) -> bool:
    from armoe_jax.runtime.cores import usable_cores
    from armoe_jax.runtime.progress import Progress
    from input_pipeline.build import Outcome, build

    sources, trees = _sources(args.source), plan_trees(args)
    if args.beam is not None:
        return _build_with_beam(args.beam, sources, trees)
    with Progress(0, "coding") as progress:

        def advance(outcome: Outcome) -> None:
            records = filter(None, outcome.records)
            progress.advance(pixels=sum(record["width"] * record["height"] for record in records))

        summary = build(
            sources,
            trees,
            workers=args.workers or usable_cores(),
            on_start=progress.set_total,
            on_outcome=advance,
        )
    _report(summary, trees)
    return not summary.failures


def _build_with_beam(options: list[str], sources: list[Path], trees: "list[Tree]") -> bool:
    from input_pipeline.beam_build import build_with_beam

    try:
        summary = build_with_beam(
            sources, trees, pipeline_options=[f"--{item}" for item in options]
        )
    except ModuleNotFoundError as error:
        raise ValueError(str(error)) from error
    _report(summary, trees)
    return not summary.failures


def _sources(names: list[str]) -> list[Path]:
    from input_pipeline.embedded import SPLITS, embedded_images
    from input_pipeline.image_files import list_images

    if names == [EMBEDDED]:
        return [path for split in SPLITS for path in embedded_images(split)]
    return [path for name in names for path in list_images(name)]


def plan_trees(args: argparse.Namespace) -> "list[Tree]":
    """Returns the trees that the arguments ask for: OUT itself, or OUT/codec/qpN if several."""
    from input_pipeline.codecs import CODECS
    from input_pipeline.manifest import Tree, tree_name

    targets: list[tuple[str, int]] = []
    for codec in dict.fromkeys(args.codec):
        if codec not in CODECS:
            raise ValueError(f"codec {codec!r} is unknown; choose from {', '.join(CODECS)}")
        flag = CODECS[codec].quality_name
        qualities = args.quality if flag == "quality" else args.qp
        if not qualities:
            raise ValueError(f"--{flag} is missing; codec {codec} takes {_range(codec)}")
        targets += [(codec, quality) for quality in dict.fromkeys(qualities)]
    return [
        Tree(
            folder=args.out / tree_name(codec, quality) if len(targets) > 1 else args.out,
            codec=codec,
            quality=quality,
            options=_options(args, codec),
            halve=args.halve,
        )
        for codec, quality in targets
    ]


def _range(codec: str) -> str:
    from input_pipeline.codecs import CODECS

    low, high = CODECS[codec].quality_range
    return f"{low} to {high}"


def _options(args: argparse.Namespace, codec: str):
    from input_pipeline.codecs import CodecOptions

    vtm = codec == "vtm"
    return CodecOptions(
        colors=args.colors,
        preset=args.preset,
        subsampling=args.subsampling if codec == "jpeg" else "",
        disabled_filters=tuple(args.disable_filter),
        lambda_modifier=args.lambda_modifier,
        encoder=args.vtm_encoder if vtm else "",
        decoder=args.vtm_decoder if vtm else "",
        encoder_config=args.vtm_encoder_config if vtm else "",
    )


def _report(summary: "Summary", trees: "list[Tree]") -> None:
    lines = [
        f"{summary.built} images coded, {summary.reused} were there already, "
        f"{len(summary.failures)} failed",
        *(f"  {tree.folder}: {_means(tree.folder)}" for tree in trees),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    for failure in summary.failures:
        sys.stderr.write(f"failed: {failure}\n")


def _means(folder: Path) -> str:
    from input_pipeline.manifest import load_manifest

    manifest = load_manifest(folder)
    images = manifest["images"]

    def mean(key: str) -> str:
        values = [image[key] for image in images if image[key] is not None]
        return f"{sum(values) / len(values):.4f}" if values else "-"

    return (
        f"{manifest['codec']} {manifest['qp']}, {len(images)} images, PSNR-Y {mean('psnr_y')} dB, "
        f"SSIM-Y {mean('ssim_y')}, {mean('bpp')} bpp, {manifest['colors']} colours"
    )


def _verify(out: Path) -> bool:
    from armoe_jax.runtime.progress import Progress
    from input_pipeline.manifest import load_manifest
    from input_pipeline.verify import find_trees, verify_tree

    problems: list[str] = []
    trees = find_trees(out)
    with Progress(
        sum(len(load_manifest(tree)["images"]) for tree in trees), "verifying"
    ) as progress:
        for tree in trees:
            problems += _problems_of(verify_tree(tree), progress.advance)
    sys.stdout.write(f"{len(trees)} trees verified, {len(problems)} problems\n")
    for problem in problems:
        sys.stderr.write(f"failed: {problem}\n")
    return not problems


def _problems_of(findings: Iterator[list[str]], advance) -> list[str]:
    problems: list[str] = []
    for finding in findings:
        problems += finding
        advance()
    return problems
