"""`armoe-jax demo`: restores photographs with the shipped weights, then trains for a few steps."""

import argparse
import sys
from pathlib import Path
from typing import Any

from armoe_jax.checkpoints.shipped import MODELS
from armoe_jax.runtime.progress import format_seconds

HELP = "Restore embedded photographs with the shipped weights, then train for a few steps."

TRAINING_FOLDER = "training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument("-o", "--output", default="demo_output", metavar="DIR")
    parser.add_argument(
        "--steps", type=int, default=40, help="of training; 0: none (default: %(default)s)"
    )
    parser.add_argument(
        "--cache-dir", default="", metavar="DIR", help="where photographs are coded"
    )
    parser.add_argument(
        "--compilation-cache", metavar="DIR|off", help="where compiled programs are kept"
    )


def run(args: argparse.Namespace) -> int:
    """Shows both; without shipped weights it says so and only trains."""
    from absl import logging

    if args.steps < 0:
        raise ValueError(f"--steps is {args.steps}, expected 0 or more")
    logging.set_verbosity(logging.WARNING)
    _restore(args)
    if args.steps:
        _train(args)
    return 0


def _restore(args: argparse.Namespace) -> None:
    from armoe_jax.checkpoints.shipped import shipped_names
    from armoe_jax.commands import demo_work as demo
    from armoe_jax.restore.pretrained import load_pretrained
    from armoe_jax.runtime import compilation_cache

    compilation_cache.enable(args.compilation_cache)
    results = []
    for name in MODELS:
        if name not in shipped_names():
            sys.stdout.write(f"the weights {name} do not come with this installation\n")
            continue
        pairs = demo.coded_pairs(name, args.cache_dir)
        results += demo.restore_photographs(load_pretrained(name), pairs, name, Path(args.output))
    if results:
        sys.stdout.write(
            f"\n{demo.format_results(results)}\n"
            "brightness only: the gain of the best constant correction of each channel\n"
            f"pictures are in {args.output}\n"
        )


def _train(args: argparse.Namespace) -> None:
    from absl import flags

    import configs
    from armoe_jax.training.final_report import format_report
    from armoe_jax.training.metric_writer import METRICS_FILE, read_metrics
    from armoe_jax.training.train import train_and_evaluate

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # libraries of the training program read them
    workdir = Path(args.output) / TRAINING_FOLDER
    config = _shortened(configs.load(configs.FOLDER / "demo.py"), args)
    sys.stdout.write(f"\ntraining a small network for {args.steps} steps, to show that it runs\n")
    sys.stdout.flush()
    report = train_and_evaluate(config, workdir)
    lines = [x for x in read_metrics(workdir / METRICS_FILE) if "loss" in x]
    seconds = sum(x["seconds_per_step"] for x in lines) * config.log.every
    sys.stdout.write(
        f"loss {lines[0]['loss']:.5f} at step {lines[0]['step']}, {lines[-1]['loss']:.5f} at step "
        f"{lines[-1]['step']}; about {format_seconds(seconds)} of training\n"
    )
    if report is not None:
        sys.stdout.write(f"\n{format_report(report)}\n")
    sys.stdout.write(
        "so few steps learn little but the brightness; the whole run:\n"
        "python -m armoe_jax.main --config configs/demo.py --workdir DIR\n"
    )


def _shortened(config: Any, args: argparse.Namespace) -> Any:
    """Returns the demo's configuration for a few steps."""
    config.data.cache_dir = args.cache_dir
    config.train.num_steps = args.steps
    config.eval.every = 0
    config.log.every = max(args.steps // 4, 1)
    config.log.tensorboard = False
    return config
