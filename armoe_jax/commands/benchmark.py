"""`armoe-jax benchmark`: measures restoring, training steps, and the input pipeline."""

import argparse
import contextlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from armoe_jax.commands.options import tile_mode
from armoe_jax.runtime.fresh_process import run_in_fresh_process

HELP = "Measure time, memory and share of the machine's speed of restoring or training."

MODES = ("infer", "train")
DEFAULT_VARIANT = "car"
DEFAULT_SIZE = (128, 128)
DEFAULT_TRAINING_BATCH = 2
DEFAULT_OVERLAP = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    network = parser.add_mutually_exclusive_group()
    network.add_argument(
        "--variant",
        metavar="NAME",
        help=f"published network: car or light_sr_x2 (default: {DEFAULT_VARIANT})",
    )
    network.add_argument(
        "--config", metavar="FILE[:ARGUMENT]", help="training configuration: configs/X.py"
    )
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
    _add_tiling(parser.add_argument_group("infer as `armoe-jax restore` does, from 8-bit images"))
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
    parser.add_argument(
        "--fresh-process",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure each row in a new process, so that its peak memory is its own (default: yes)",
    )


def _add_tiling(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--tile",
        type=tile_mode,
        metavar="auto|N|none|released",
        help="how to cut images, see `armoe-jax restore --help` (default: the network alone, on "
        "whole arrays)",
    )
    group.add_argument(
        "--overlap",
        type=int,
        metavar="N",
        help=f"pixels that tiles share (default: {DEFAULT_OVERLAP})",
    )


def _add_execution(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--dtype", choices=("float32", "bfloat16"), help="of matrix operands")
    group.add_argument("--dispatch", choices=("capacity", "dense"), help="of images in training")
    switch = argparse.BooleanOptionalAction
    group.add_argument("--scan", action=switch, default=None, help="loop over one compiled block")
    group.add_argument(
        "--remat", action=switch, default=None, help="train: recompute whole blocks backward"
    )
    group.add_argument(
        "--devices",
        type=_positive,
        metavar="N",
        help="train: split the batch over N devices (default: 1; JAX_NUM_CPU_DEVICES makes some)",
    )
    group.add_argument("--fsdp", action="store_true", help="train: split the state over them, too")


def run(args: argparse.Namespace) -> int:
    """Measures and prints row by row; the JSON file is brought up to date after each."""
    return _run_data(args) if args.data_throughput else _run_network(args)


def _run_network(args: argparse.Namespace) -> int:
    from armoe_jax.benchmark import measure
    from armoe_jax.benchmark.rows import HEADER, compare, format_row, read_report
    from armoe_jax.runtime.json_files import write_json

    earlier = read_report(args.compare) if args.compare else []
    _refuse_contradictions(args)
    config = _config(args)
    cases = _cases(args, config, _model(args, config))
    # This process leaves the device to those that measure.
    call = run_in_fresh_process if args.fresh_process else _call
    machine = call(_describe_machine)
    side = measure.MATMUL_SIZE
    _say(f"products: of {side}x{side} float32 matrices, in turns with the runs\n\n{HEADER}")
    report: dict[str, Any] = {
        "machine": machine,
        "fresh_process": args.fresh_process,
        "rows": [],
    }
    for case in cases:
        row = call(_measure_row, args, case)
        report["rows"].append(row)
        _say(format_row(row))
        if args.json:
            write_json(args.json, report)
    if args.compare:
        _say(f"\n{args.compare} / this:")
        for line in compare(report["rows"], earlier):
            _say(line)
    return 0


def _refuse_contradictions(args: argparse.Namespace) -> None:
    if args.mode == "infer":
        for option in ("devices", "fsdp"):
            value = getattr(args, option)
            if value:
                raise ValueError(f"--{option} is for --mode train; inference runs on one device")
    if args.mode == "train":
        for option in ("expert", "tile", "overlap"):
            value = getattr(args, option)
            if value is not None:
                raise ValueError(f"--{option} {value} is for --mode infer; training has none")
    if args.overlap is not None and args.tile is None:
        raise ValueError(f"--overlap {args.overlap} is for tiles; give --tile too")
    if args.tile is not None:
        for option, value in (("expert", args.expert), ("no-scan", args.scan is False)):
            if value:
                raise ValueError(
                    f"--{option} is for the network alone; with --tile {args.tile} it runs as "
                    "`armoe-jax restore` runs it"
                )


def _call(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _describe_machine() -> dict[str, Any]:
    """Returns what the machine is; of a fresh process: this one is not to load JAX's devices."""
    from armoe_jax.benchmark import machine

    return machine.describe_machine()


def _measure_row(args: argparse.Namespace, case: Any) -> dict[str, Any]:
    from armoe_jax.benchmark import measure

    config = _config(args)
    model = _model(args, config)
    with _no_compilation_cache():
        if case.mode == "train":
            from armoe_jax.training.setup import make_step_options

            options = make_step_options(config, model)
            measured = measure.measure_training(
                model, case, options, ema=config.train.ema, repeats=args.repeats
            )
        elif case.tile is None:
            measured = measure.measure_inference(model, case, repeats=args.repeats)
        else:
            measured = measure.measure_restoring(model, case, repeats=args.repeats)
    return measure.make_row(case, measured, model.config)


def _model(args: argparse.Namespace, config: Any) -> Any:
    from armoe_jax.models import build_model

    overrides = {name: getattr(args, name) for name in ("dtype", "dispatch", "scan", "remat")}
    return build_model(
        config.model.to_dict(),
        **{name: value for name, value in overrides.items() if value is not None},
    )


def _cases(args: argparse.Namespace, config: Any, model: Any) -> list[Any]:
    """Returns one case for each size, defaults filled in."""
    from armoe_jax.benchmark.rows import Case

    training = args.mode == "train"
    if training:
        default_size = (config.data.patch_size,) * 2
        default_batch = config.train.batch_size if args.config else DEFAULT_TRAINING_BATCH
    else:
        default_size, default_batch = DEFAULT_SIZE, 1
    overlap = DEFAULT_OVERLAP if args.overlap is None else args.overlap
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
            devices=(args.devices or 1) if training else None,
            fsdp=args.fsdp if training else None,
            expert=args.expert,
            tile=args.tile,
            overlap=None if args.tile is None else overlap,
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
    import configs
    from armoe_jax.models import VARIANTS
    from configs import base

    if args.config:
        return configs.load(args.config)
    variant = args.variant or DEFAULT_VARIANT
    if variant not in VARIANTS:
        raise ValueError(f"--variant {variant!r} is unknown; known are {', '.join(VARIANTS)}")
    config = configs.load(configs.FOLDER / "base.py")
    with config.unlocked():
        config.model = base.model_config(variant)
    return config


def _run_data(args: argparse.Namespace) -> int:
    import dataclasses

    from armoe_jax.models import build_model
    from armoe_jax.runtime.json_files import write_json
    from input_pipeline import throughput
    from input_pipeline.pipeline import default_config

    if args.compare:
        raise ValueError(f"--compare {args.compare} is for networks, not for --data-throughput")
    if args.config:
        config = _config(args)
        scale = build_model(config.model.to_dict()).config.scale
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
        write_json(args.json, {"data": [dataclasses.asdict(row) for row in rows]})
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
