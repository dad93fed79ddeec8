"""`armoe-jax benchmark`: measures restoring, training steps, and the input pipeline."""

import argparse
import contextlib
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HELP = "Measure time, memory and share of the machine's speed of restoring or training."

MODES = ("infer", "train")
DEFAULT_VARIANT = "car"
DEFAULT_SIZE = (128, 128)
DEFAULT_TRAINING_BATCH = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    network = parser.add_mutually_exclusive_group()
    network.add_argument(
        "--variant",
        metavar="NAME",
        help=f"published network: car or light_sr_x2 (default: {DEFAULT_VARIANT})",
    )
    network.add_argument("--config", metavar="FILE", help="training configuration: configs/X.py")
    parser.add_argument(
        "--mode", choices=MODES, default="infer", help="what to measure (default: %(default)s)"
    )
    parser.add_argument(
        "--size",
        nargs="+",
        type=_size,
        metavar="N",
        help="side of the input in pixels, or HxW; one row each (default: infer 128; train the "
        "configured patch size, 64)",
    )
    parser.add_argument(
        "--batch",
        type=_positive,
        metavar="N",
        help="images at a time (default: infer 1; train the batch size of --config, without 2)",
    )
    parser.add_argument("--repeats", type=_positive, default=5, metavar="N", help="measured runs")
    parser.add_argument("--expert", metavar="NAME", help="infer: force all blocks to this expert")
    _add_execution(parser.add_argument_group("execution; left out, the configuration's holds"))
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON")
    parser.add_argument(
        "--compare", metavar="FILE", help="print how an earlier report's figures relate to these"
    )
    parser.add_argument(
        "--data-throughput",
        action="store_true",
        help="measure the input pipeline instead: patches a second and core, for each kind of "
        "storage of the embedded pairs, or for the data of --config",
    )


def _add_execution(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--dtype", choices=("float32", "bfloat16"), help="of matrix operands")
    group.add_argument("--dispatch", choices=("capacity", "dense"), help="of images in training")
    switch = argparse.BooleanOptionalAction
    group.add_argument("--scan", action=switch, default=None, help="loop over one compiled block")
    group.add_argument(
        "--remat", action=switch, default=None, help="train: recompute whole blocks backward"
    )


def run(args: argparse.Namespace) -> int:
    """Measures and prints row by row; the JSON file is brought up to date after each."""
    return _run_data(args) if args.data_throughput else _run_network(args)


def _run_network(args: argparse.Namespace) -> int:
    from armoe_jax import benchmark
    from armoe_jax.benchmark_report import HEADER, compare, format_row, read_report, write_report
    from armoe_jax.models import build_model

    earlier = read_report(args.compare) if args.compare else []
    config = _config(args)
    overrides = {name: getattr(args, name) for name in ("dtype", "dispatch", "scan", "remat")}
    model = build_model(
        config.model.to_dict(),
        **{name: value for name, value in overrides.items() if value is not None},
    )
    cases = _cases(args, config, model)
    with _no_compilation_cache():
        rate = benchmark.matmul_rate()
        side = benchmark.MATMUL_SIZE
        _say(f"product of {side}x{side} float32 matrices: {rate / 1e9:.0f} GFLOP/s\n\n{HEADER}")
        report: dict[str, Any] = {
            "machine": benchmark.describe_machine(),
            "matmul_gflop_per_second": rate / 1e9,
            "rows": [],
        }
        for case in cases:
            measured = _measure(model, case, config, args.repeats)
            row = benchmark.make_row(case, measured, model.config, rate)
            report["rows"].append(row)
            _say(format_row(row))
            if args.json:
                write_report(args.json, report)
    if args.compare:
        _say(f"\n{args.compare} / this:")
        for line in compare(report["rows"], earlier):
            _say(line)
    return 0


def _measure(model: Any, case: Any, config: Any, repeats: int) -> Any:
    from armoe_jax.benchmark import measure_inference, measure_training

    if case.mode == "infer":
        return measure_inference(model, case, repeats=repeats)
    from armoe_jax.train import make_step_options

    options = make_step_options(config, model)
    return measure_training(model, case, options, ema=config.train.ema, repeats=repeats)


def _cases(args: argparse.Namespace, config: Any, model: Any) -> list[Any]:
    """Returns one case for each size, defaults filled in."""
    from armoe_jax.benchmark import Case

    training = args.mode == "train"
    if training and args.expert:
        raise ValueError(
            f"--expert {args.expert} is for --mode infer; in training the gates choose"
        )
    if training:
        default_size = (config.data.patch_size,) * 2
        default_batch = config.train.batch_size if args.config else DEFAULT_TRAINING_BATCH
    else:
        default_size, default_batch = DEFAULT_SIZE, 1
    return [
        Case(
            model=_name(args, model.config),
            mode=args.mode,
            height=height,
            width=width,
            batch=args.batch or default_batch,
            dtype=model.dtype,
            scan=model.scan,
            dispatch=model.dispatch if training else None,
            remat=model.remat if training else None,
            expert=args.expert,
        )
        for height, width in args.size or [default_size]
    ]


def _name(args: argparse.Namespace, architecture: Any) -> str:
    """Returns the name of the variant that this is, else of the configuration's file."""
    from armoe_jax.models import VARIANTS

    names = (name for name, known in VARIANTS.items() if known == architecture)
    return next(names, Path(args.config).stem if args.config else str(args.variant))


def _config(args: argparse.Namespace) -> Any:
    """Returns the configuration: the file's, or the default one with a variant's network."""
    import runpy

    from armoe_jax.main import resolve_config
    from armoe_jax.models import VARIANTS
    from configs import base

    if args.config:
        path = resolve_config(["--config", args.config])[1]
        names = runpy.run_path(path)
        if "get_config" not in names:
            raise ValueError(f"--config {args.config} defines no get_config(); see configs/base.py")
        return names["get_config"]()
    variant = args.variant or DEFAULT_VARIANT
    if variant not in VARIANTS:
        raise ValueError(f"--variant {variant!r} is unknown; known are {', '.join(VARIANTS)}")
    config = base.get_config()
    with config.unlocked():
        config.model = base.model_config(variant)
    return config


def _run_data(args: argparse.Namespace) -> int:
    import dataclasses

    from armoe_jax.benchmark_report import write_report
    from input_pipeline import throughput
    from input_pipeline.pipeline import default_config

    if args.compare:
        raise ValueError(f"--compare {args.compare} is for networks, not for --data-throughput")
    if args.config:
        config = _config(args)
        scale = config.model.upscale if config.model.upsampler == "lightSR" else 1
        batch = args.batch or config.train.batch_size
        rows = [
            throughput.measure(
                Path(args.config).stem, config.data.to_dict(), batch_size=batch, scale=scale
            )
        ]
    else:
        with tempfile.TemporaryDirectory() as work_dir:
            rows = throughput.compare_storage(default_config(), Path(work_dir))
    _say("| data | patches/s of one core | of wall time |\n|---|---|---|")
    for row in rows:
        _say(f"| {row.name} | {row.patches_per_second:.0f} | {row.wall_patches_per_second:.0f} |")
    if args.json:
        write_report(args.json, {"data": [dataclasses.asdict(row) for row in rows]})
    return 0


@contextlib.contextmanager
def _no_compilation_cache() -> Iterator[None]:
    """Has programs compiled, not read from disk."""
    import jax

    before = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; give pixels as 128 or 96x128")
    return int(match[1]), int(match[2] or match[1])
