"""Measures the weights that come with the package: the tables of the README.

python scripts/maintain/measure_weights.py --gt kodak24 --out results

Codes the images with VVC (preset faster, clean colours) or, by --codec, others and, on the fly, as
JPEG; restores and measures them with `armoe-jax evaluate`; leaves a record of each in OUT, and
OUT/tables.md. With --without-mixture the mixtures of experts put out zero, which shows what they
contribute; with --told the network for VVC is told the QP instead of estimating it.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

import numpy as np
from flax import traverse_util

from armoe_jax import cli
from armoe_jax.checkpoints.folder import save_model
from armoe_jax.checkpoints.shipped import CODEC_MODEL, JPEG_MODEL
from armoe_jax.checkpoints.weights import load_weights
from armoe_jax.evaluation.record import Evaluation
from armoe_jax.evaluation.tables import overview_table, usage_table
from armoe_jax.runtime import errors
from armoe_jax.runtime.errors import UserError
from armoe_jax.runtime.files import write_atomically

PRESETS = {"vvc": ("--preset", "faster")}
"""Of an encoder, where it is not the default."""


def main(argv: list[str] | None = None) -> int:
    """Runs all evaluations; returns the status of the first that fails, else 0."""
    parser = argparse.ArgumentParser(description="Makes the tables of the README.")
    parser.add_argument("--gt", required=True, help="folder of originals")
    parser.add_argument("--out", type=Path, required=True, help="folder for records and tables")
    parser.add_argument("--qp", type=int, nargs="*", default=[22, 27, 32, 37])
    parser.add_argument("--codec", nargs="+", default=["vvc"], help="of the QPs (of av1: CRFs)")
    parser.add_argument("--quality", type=int, nargs="*", default=[10, 20, 30, 40])
    parser.add_argument("--trees", type=Path, help="coded trees (default: built in OUT)")
    parser.add_argument("--vvc", default=CODEC_MODEL, metavar="CKPT")
    parser.add_argument("--jpeg", default=JPEG_MODEL, metavar="CKPT")
    parser.add_argument(
        "--usage",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="count how often each expert is chosen, if there are any",
    )
    parser.add_argument("--without-mixture", action="store_true", help="experts put out zero")
    parser.add_argument("--told", action="store_true", help="tell the QP (--coded-at)")
    args = parser.parse_args(argv)
    if args.without_mixture:
        args.vvc = without_mixture(args.vvc, args.out / "vvc_without_mixture")
        args.jpeg = without_mixture(args.jpeg, args.out / "jpeg_without_mixture")
    trees = args.trees or args.out / "coded"
    jobs = {}
    for codec, qp in itertools.product(args.codec, args.qp):
        tree = trees / codec / f"qp{qp}"
        if args.trees is None:
            words = ["--source", args.gt, "--codec", codec, "--qp", str(qp), "--out", str(tree)]
            status = cli.main(["build-dataset", *words, *PRESETS.get(codec, ())])
            if status:
                return status
        words = ["--gt", str(tree / "gt"), "--lq", str(tree / "lq")]
        told = ["--coded-at", str(qp)] if args.told else []
        jobs[f"{codec}_qp{qp}"] = [*words, *told, *_with(args.vvc, args.usage)]
    for quality in args.quality:
        words = ["--gt", args.gt, "--jpeg-quality", str(quality)]
        jobs[f"jpeg_quality{quality}"] = [*words, *_with(args.jpeg, args.usage)]
    for name, words in jobs.items():
        record = ["--json", str(args.out / f"{name}.json")]
        status = cli.main(["evaluate", *words, *record])
        if status:
            return status
    _write_tables(args.out, list(jobs))
    return 0


def _with(checkpoint: str, usage: bool) -> list[str]:
    """Returns the arguments that name the network; one without experts has no usage to count."""
    counted = usage and load_weights(checkpoint).config.experts
    return ["--checkpoint", checkpoint, *(["--expert-usage"] if counted else [])]


def without_mixture(checkpoint: str, folder: Path) -> str:
    """Saves a network whose mixtures of experts put out zero; returns its folder.

    Raises:
        UserError: It has no mixture as the released network has.
    """
    model = load_weights(checkpoint)
    values = traverse_util.flatten_dict(model.variables, sep="/")
    if not any("/moe/out_linear/" in name for name in values):
        raise UserError(f"{checkpoint}: there is no mixture that could be silenced")
    silent = {
        name: np.zeros_like(value) if "/moe/out_linear/" in name else value
        for name, value in values.items()
    }
    save_model(
        folder,
        model.config,
        traverse_util.unflatten_dict(silent, sep="/"),
        provenance={"source": checkpoint, "mixture": "zero"},
        overwrite=True,
    )
    return str(folder)


def _write_tables(out: Path, names: list[str]) -> None:
    records = [json.loads((out / f"{name}.json").read_text()) for name in names]
    evaluations = [Evaluation.from_dict(record) for record in records]
    tables = [overview_table(evaluations)]
    used = [evaluation for evaluation in evaluations if evaluation.expert_names]
    tables += [usage_table(used)] if used else []
    text = "\n\n".join(tables) + "\n"
    write_atomically(out / "tables.md", text)
    sys.stdout.write(text)


if __name__ == "__main__":
    sys.exit(errors.run(main, "measure_weights.py"))
