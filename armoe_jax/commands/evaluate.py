"""`armoe-jax evaluate`: restores coded images and compares them with the originals."""

import argparse
import dataclasses
import functools
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armoe_jax.checkpoints.shipped import JPEG_MODEL, model_for_image
from armoe_jax.commands import evaluate_sequences
from armoe_jax.commands.options import (
    Restorers,
    add_model_arguments,
    add_restorer_arguments,
    model_name,
)

if TYPE_CHECKING:
    from armoe_jax.evaluation.record import Evaluation

HELP = "Measure a network on originals and coded images, or JPEG coded on the fly."


FIGURES = ("psnr_y", "ssim_y")
"""Columns of the table of images; for JPEG also PSNR-B."""

ROWS_SHOWN = 24
"""Images that are printed at most, the worst."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument("--gt", required=True, metavar="DIR", help="folder of originals")
    coded = parser.add_mutually_exclusive_group(required=True)
    coded.add_argument("--lq", metavar="DIR", help="folder of coded images of the same stems")
    coded.add_argument(
        "--jpeg-quality",
        type=int,
        choices=range(1, 101),
        metavar="1-100",
        help="instead of --lq: code the originals as JPEG of this quality (libjpeg's scale)",
    )
    parser.add_argument(
        "--jpeg-subsampling",
        choices=("4:2:0", "4:2:2", "4:4:4"),
        default="4:2:0",
        help="chroma of --jpeg-quality (default: %(default)s)",
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
    parser.add_argument(
        "--expert-usage",
        action="store_true",
        help="also record which experts each layer chose; images go through the network whole",
    )
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
    evaluate_sequences.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluates, prints the table, and writes what is asked for."""
    if evaluate_sequences.names_sequences(args):
        return evaluate_sequences.run(args)
    from absl import logging

    from armoe_jax.evaluation.pairs import evaluate_pairs
    from armoe_jax.evaluation.recording import recording_experts

    logging.set_verbosity(logging.INFO)
    _check_expert_usage(args)
    paths = _paths(args)
    restorer = Restorers(args)(_model(args, (lq for _, lq in paths)))
    scale = restorer.config.scale
    if scale > 1 and args.jpeg_quality:
        raise ValueError(
            f"--jpeg-quality codes at the same size, but the network scales by {scale}"
        )
    published = _published(args, scale)
    coding = _coding(args)
    evaluation = evaluate_pairs(
        recording_experts(restorer) if args.expert_usage else restorer,
        _pairs(paths, args, codings=restorer.config.interval_head),
        scale=scale,
        crop_border=args.crop_border,
        save_images=args.save_images,
        extended=True,
        keep_going=True,
    )
    evaluation = dataclasses.replace(
        evaluation,
        coding=coding,
        published=published,
        expert_names=restorer.config.experts if args.expert_usage else (),
    )
    coded_as_jpeg = all(lq is None or model_for_image(lq) == JPEG_MODEL for _, lq in paths)
    _report(evaluation, args, (*FIGURES, "psnr_b") if coded_as_jpeg else FIGURES)
    for failure in evaluation.failed:
        sys.stderr.write(f"failed: {failure.name}: {failure.reason}\n")
    return 1 if evaluation.failed else 0


def _report(evaluation: "Evaluation", args: argparse.Namespace, figures: Sequence[str]) -> None:
    """Prints the tables and writes the files that are asked for."""
    from armoe_jax.evaluation.tables import image_table, summary_table, to_csv
    from armoe_jax.runtime.files import write_atomically
    from armoe_jax.runtime.json_files import write_json

    summary = summary_table(evaluation)
    if args.json:
        write_json(args.json, evaluation.to_dict())
    if args.csv:
        write_atomically(args.csv, to_csv(evaluation))
    if args.markdown:
        every_image = image_table(evaluation, figures=figures)
        write_atomically(args.markdown, f"{summary}\n\n{every_image}\n")
    worst = image_table(evaluation, figures=figures, worst_first=True, most=ROWS_SHOWN)
    left_out = len(evaluation.images) - ROWS_SHOWN
    more = f"{left_out} better ones are left out; --csv and --markdown write all\n"
    sys.stdout.write(
        f"worst gain first:\n{worst}\n{more if left_out > 0 else ''}\n"
        f"{len(evaluation.images)} images, {evaluation.seconds_per_image:.2f} s each (median)\n\n"
        f"{summary}\n"
    )
    if published := evaluation.published:
        sys.stdout.write(f"\npaper: {published['set']}, {published['condition']}\n")


def _published(args: argparse.Namespace, scale: int) -> dict[str, Any] | None:
    """Returns the paper's row for the named (or recognised) set, with what it belongs to."""
    from armoe_jax.evaluation.published import SETS, published_row

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


def _check_expert_usage(args: argparse.Namespace) -> None:
    if args.expert_usage and (args.tile not in ("auto", "none") or args.gate != "argmax"):
        raise ValueError(
            "--expert-usage is about whole images and the likeliest experts; leave --tile and "
            "--gate out"
        )


def _paths(args: argparse.Namespace) -> list[tuple[Path, Path | None]]:
    """Returns originals with their coded images; None where those are made on the fly."""
    from armoe_jax.images.files import images_in, match_stems

    originals = images_in(args.gt)
    if args.lq:
        return [*match_stems(originals, images_in(args.lq))]
    return [(path, None) for path in originals]


def _coding(args: argparse.Namespace) -> dict[str, Any]:
    """Returns codec, quality and settings of the inputs, where they are known."""
    from armoe_jax.evaluation.record import CODING_FIELDS
    from input_pipeline.manifest import MANIFEST, load_manifest

    if args.jpeg_quality:
        settings = {"subsampling": args.jpeg_subsampling}
        return {"codec": "jpeg", "qp": args.jpeg_quality, "settings": settings}
    tree = Path(args.lq).resolve().parent
    if not (tree / MANIFEST).is_file():
        return {}
    manifest = load_manifest(tree)
    return {name: manifest[name] for name in CODING_FIELDS}


def _model(args: argparse.Namespace, inputs: Iterable[Path | None]) -> str:
    """Returns the one checkpoint that suits all inputs.

    Raises:
        ValueError: If the shipped weights for them differ and none are named.
    """
    suitable = {JPEG_MODEL if path is None else model_for_image(path) for path in inputs}
    names = sorted({model_name(args, automatic) for automatic in suitable})
    if len(names) > 1:
        raise ValueError(
            f"{args.lq} holds JPEG files and others, for which there are different weights "
            f"({', '.join(names)}); name one with --model, or evaluate them apart"
        )
    return names[0]


@dataclasses.dataclass(frozen=True)
class _FilePair:
    """A pair whose files are read when they are asked for: the reader of a bad one is told then.

    Attributes:
        name: Its name.
        gt_path: The original.
        lq_path: The coded image; None: made from the original.
        jpeg: Quality and subsampling of what is made.
        codings: Whether the network looks at how images were coded.
    """

    name: str
    gt_path: Path
    lq_path: Path | None
    jpeg: tuple[int, str] | None
    codings: bool

    @functools.cached_property
    def gt(self) -> Any:
        """The original."""
        from input_pipeline.image_files import read_image

        return read_image(self.gt_path)

    @property
    def pixels_read(self) -> int:
        """Height times width of the original; 0 if it was not, or could not be, read."""
        gt = self.__dict__.get("gt")
        return 0 if gt is None else gt.shape[0] * gt.shape[1]

    @functools.cached_property
    def _coded(self) -> tuple[Any, Any]:
        """The coded image, from its file or made from the original, and how it was coded."""
        from armoe_jax.images.jpeg import encode_jpeg
        from armoe_jax.images.jpeg_history import find_codings
        from input_pipeline.image_files import read_image

        if self.lq_path is None:
            assert self.jpeg is not None
            quality, subsampling = self.jpeg
            return encode_jpeg(self.gt, quality=quality, subsampling=subsampling)
        pixels = read_image(self.lq_path)
        coding = find_codings(self.lq_path, pixels).believed if self.codings else None
        return pixels, coding

    @property
    def lq(self) -> Any:
        """The coded image."""
        return self._coded[0]

    @property
    def coding(self) -> Any:
        """How a JPEG was coded, by its file or its pixels; None for others."""
        return self._coded[1]


def _pairs(
    paths: list[tuple[Path, Path | None]], args: argparse.Namespace, *, codings: bool
) -> Iterator[Any]:
    from armoe_jax.runtime.progress import Progress

    jpeg = (args.jpeg_quality, args.jpeg_subsampling) if args.jpeg_quality else None
    with Progress(len(paths), "evaluating") as progress:
        for gt, lq in paths:
            pair = _FilePair(gt.stem, gt, lq, jpeg, codings)
            yield pair
            progress.advance(pixels=pair.pixels_read)
