"""`armoe-jax report`: writes evaluations as one HTML page to look at."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

HELP = "Write evaluations as one self-contained HTML page."

WINDOW_PICTURES = 3
"""Images whose windows' choices are shown: each gives a picture a layer."""

SILENCED_PICTURES = 4
"""Images restored again without each expert, of each run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN",
        help="what evaluate --json wrote, or a folder with it (such as a training workdir)",
    )  # fmt: skip
    parser.add_argument("-o", "--out", default="report.html", metavar="FILE")
    parser.add_argument("--title", default="ARMoE restoration report")
    for name, what in (
        ("gt", "folder of originals"),
        ("lq", "folder of coded images"),
        ("restored", "folder of restored images (evaluate --save-images)"),
        ("manifest", "manifest of a built tree, for the rates (default: beside the coded images)"),
        ("label", "heading"),
    ):
        parser.add_argument(
            f"--{name}", nargs="+", default=[], metavar=name.upper(),
            help=f"{what}; one for all runs, or one a run",
        )  # fmt: skip
    parser.add_argument(
        "--max-images", type=int, default=12, metavar="N",
        help="pictures embedded of each run (default: 12)",
    )  # fmt: skip
    inside = parser.add_argument_group("looking inside the network (needs --lq)")
    inside.add_argument(
        "--checkpoint", metavar="CKPT",
        help="adds expert usage; decay maps, or thresholds, what windows chose and what experts "
        "are worth",
    )  # fmt: skip
    inside.add_argument(
        "--attribution", type=int, default=0, metavar="N",
        help="adds local attribution maps of N images (slow: a gradient for each of 50 steps)",
    )  # fmt: skip
    inside.add_argument(
        "--attribution-crop", type=int, default=64, metavar="PIXELS",
        help="side of the middle part that is looked at (default: 64)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Reads the runs and writes the page."""
    from armoe_jax.evaluation.report import load_run, write_report
    from armoe_jax.evaluation.report.runs import unique_labels

    if args.max_images < 0:
        raise ValueError(f"--max-images {args.max_images} is negative")
    names = ("gt", "lq", "restored", "manifest", "label")
    columns = {name: _one_each(name, getattr(args, name), len(args.runs)) for name in names}
    runs = unique_labels(
        [
            load_run(path, **{name: columns[name][i] for name in names if columns[name][i]})
            for i, path in enumerate(args.runs)
        ]
    )
    inside = _look_inside(args, runs) if args.checkpoint else None
    if args.attribution and not args.checkpoint:
        raise ValueError("--attribution needs --checkpoint")
    write_report(args.out, runs, title=args.title, max_images=args.max_images, inside=inside)
    images = sum(len(run.rows) for run in runs)
    sys.stdout.write(f"{args.out}: {len(runs)} evaluations of {images} images\n")
    return 0


def _one_each(name: str, values: Sequence[str], count: int) -> list[str]:
    if len(values) in (0, 1):
        return [values[0] if values else ""] * count
    if len(values) != count:
        raise ValueError(
            f"--{name} has {len(values)} values; give one, or one for each of {count} runs"
        )
    return list(values)


def _look_inside(args: argparse.Namespace, runs: Sequence[Any]) -> Any:
    from armoe_jax.evaluation import analysis, windowed
    from armoe_jax.evaluation.report import Inside
    from armoe_jax.evaluation.report.pictures import read_for_network
    from armoe_jax.models import ARMoEConfig, ARMoEWConfig
    from armoe_jax.restore.pretrained import load_pretrained

    restorer = load_pretrained(args.checkpoint)
    channels = restorer.config.in_chans
    config = restorer.config
    by_window = isinstance(config, ARMoEWConfig) and bool(config.experts)
    usage, attributions, choices, silenced = {}, {}, {}, {}
    for run in runs:
        files = {name: run.picture("lq", name) for name in run.rows}
        images = {name: read_for_network(file, channels) for name, file in files.items() if file}
        if not images:
            raise ValueError(f"{run.label}: the coded images are not known; give --lq")
        if restorer.config.experts and not run.experts:
            usage[run.label] = analysis.expert_usage(restorer, images.items())
        for name in list(images)[: WINDOW_PICTURES - len(choices)] if by_window else ():
            choices[name] = images[name], windowed.window_choices(restorer, images[name])
        pairs = list(_pairs(run, images, channels)) if by_window else []
        if pairs:
            silenced[run.label] = windowed.gains_when_silenced(restorer, pairs)
        for name in list(images)[: args.attribution - len(attributions)]:
            attributions[name] = _attribute(restorer, images[name], args.attribution_crop)
    decay, thresholds = None, {}
    if isinstance(config, ARMoEConfig) and config.experts:
        decay = analysis.decay_maps(config, restorer.variables)
    if isinstance(config, ARMoEWConfig) and config.experts:
        thresholds = _thresholds(config, restorer.variables)
    return Inside(decay, attributions, usage, choices, thresholds, silenced)


def _pairs(run: Any, images: Mapping[str, Any], channels: int) -> Iterator[tuple[Any, Any]]:
    """Yields the first coded images with their originals, as far as those are known."""
    from armoe_jax.evaluation.report.pictures import read_for_network

    for name in list(images)[:SILENCED_PICTURES]:
        file = run.picture("gt", name)
        original = read_for_network(file, channels) if file else None
        if original is not None and original.shape == images[name].shape:
            yield images[name], original


def _thresholds(config: Any, variables: Any) -> dict[str, Any]:
    """Returns thresholds by expert; where they follow the coding quality, at both of its ends."""
    from armoe_jax.evaluation import windowed

    if not config.adapt_experts:
        return windowed.thresholds(config, variables)
    return {
        f"{name}, {coding} coding": rows
        for coding, position in (("mildest", -1.0), ("strongest", 1.0))
        for name, rows in windowed.thresholds(config, variables, position).items()
    }


def _attribute(restorer: Any, image: Any, side: int) -> Any:
    """Returns the middle of an image, enlarged to the output's size, and its attribution."""
    import numpy as np

    from armoe_jax.evaluation import analysis

    height, width = (min(side, length) for length in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    crop = image[top : top + height, left : left + width]
    forward = analysis.fixed_routing(restorer, crop)
    result = analysis.local_attribution(forward, crop)
    scale = restorer.config.scale
    shown = crop if crop.ndim == 3 else np.repeat(crop[..., None], 3, axis=2)
    return shown.repeat(scale, axis=0).repeat(scale, axis=1), result
