"""`armoe-jax demo`: restores photographs with the shipped weights, and shows them."""

import argparse
import sys
from pathlib import Path
from typing import Any

from armoe_jax.runtime.progress import format_seconds

HELP = "Restore embedded photographs with the shipped weights; writes pictures and a report."

REPORT_FILE = "report.html"
TRAINING_FOLDER = "training"
DEFAULT_STEPS = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument("-o", "--output", default="demo_output", metavar="DIR")
    parser.add_argument(
        "--train", type=int, nargs="?", const=DEFAULT_STEPS, metavar="STEPS",
        help=f"afterwards train a small network for a few steps (default: {DEFAULT_STEPS})",
    )  # fmt: skip
    parser.add_argument(
        "--cache-dir", default="", metavar="DIR", help="where photographs are coded"
    )
    parser.add_argument(
        "--compilation-cache", metavar="DIR|off", help="where compiled programs are kept"
    )


def run(args: argparse.Namespace) -> int:
    """Restores; without shipped weights it says so. Trains if asked to."""
    if args.train is not None and args.train < 1:
        raise ValueError(f"--train is {args.train}, expected 1 or more steps")
    _tell("restoring photographs that were coded strongly; this takes about a minute")
    from absl import logging

    logging.set_verbosity(logging.WARNING)
    _restore(args)
    if args.train:
        _train(args)
    return 0


def _tell(line: str) -> None:
    """Writes a line at once, wherever standard output goes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _restore(args: argparse.Namespace) -> None:
    from armoe_jax.checkpoints.shipped import shipped_names
    from armoe_jax.commands import demo_work as demo
    from armoe_jax.evaluation.record import condition
    from armoe_jax.evaluation.report import load_run, write_report
    from armoe_jax.evaluation.tables import image_table
    from armoe_jax.runtime import compilation_cache

    compilation_cache.enable(args.compilation_cache)
    output, evaluations = Path(args.output), {}
    for model, coding in demo.CODINGS.items():
        if model not in shipped_names():
            _tell(f"the weights {model} do not come with this installation")
            continue
        _tell(f"{condition(coding)}, restored with {model}")
        folder = output / coding["codec"]
        pairs = demo.coded_photographs(model, folder, args.cache_dir)
        evaluations[folder] = demo.restore_photographs(
            model, pairs, folder, lambda line: _tell(f"  {line}")
        )
    if not evaluations:
        return
    for evaluation in evaluations.values():
        _tell(f"\n{evaluation.condition}\n{image_table(evaluation)}")
    report = output / REPORT_FILE
    write_report(report, [load_run(folder) for folder in evaluations], title="ARMoE demonstration")
    _tell("\ncoded, restored and original side by side, with a part enlarged:")
    for folder in evaluations:
        _tell(f"  {folder / 'comparison'}")
    _tell(f"open this page to compare them under a slider:\n  {report.resolve().as_uri()}")


def _train(args: argparse.Namespace) -> None:
    from absl import flags

    import configs
    from armoe_jax.training.final_report import format_report
    from armoe_jax.training.metric_writer import METRICS_FILE, read_metrics
    from armoe_jax.training.train import train_and_evaluate

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # libraries of the training program read them
    workdir = Path(args.output) / TRAINING_FOLDER
    config = shortened(configs.load(configs.FOLDER / "demo.py"), args)
    _tell(f"\ntraining a small network for {args.train} steps, to show that it runs")
    report = train_and_evaluate(config, workdir)
    lines = [x for x in read_metrics(workdir / METRICS_FILE) if "loss" in x]
    seconds = sum(x["seconds_per_step"] for x in lines) * config.log.every
    _tell(
        f"loss {lines[0]['loss']:.5f} at step {lines[0]['step']}, {lines[-1]['loss']:.5f} at step "
        f"{lines[-1]['step']}; about {format_seconds(seconds)} of training"
    )
    if report is not None:
        _tell(f"\n{format_report(report)}")
    _tell(
        "so few steps learn little but the brightness; the whole run:\n"
        "python -m armoe_jax.main --config configs/demo.py --workdir DIR"
    )


def shortened(config: Any, args: argparse.Namespace) -> Any:
    """Returns the demo's configuration for a few steps."""
    config.data.cache_dir = args.cache_dir
    config.train.num_steps = args.train
    config.eval.every = 0
    config.log.every = max(args.train // 4, 1)
    config.log.tensorboard = False
    return config
