"""`armoe-jax export`: writes a network as a program, StableHLO or ONNX, without the model code."""

import argparse
import sys

from armoe_jax.commands.options import add_coded_at_argument, add_key_argument

HELP = "Export a checkpoint to StableHLO, a file that runs with JAX alone, or to ONNX."

FORMATS = ("stablehlo", "onnx")
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
DEFAULT_PLATFORMS = ("cpu", "cuda", "tpu")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", help="anything that restore accepts")
    parser.add_argument("-o", "--out", required=True, metavar="FILE", help="file to write")
    parser.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0],
        help="onnx: windowed networks without experts, by their pixels alone; needs the extra onnx",
    )  # fmt: skip
    parser.add_argument("--tile", type=int, default=256, help="side of the input (default: 256)")
    parser.add_argument(
        "--batch", type=int, metavar="N", help="images a call (default: any number)"
    )
    parser.add_argument(
        "--platforms", nargs="+", choices=PLATFORMS,
        help="where StableHLO shall run (default: cpu cuda tpu)",
    )  # fmt: skip
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    add_coded_at_argument(parser, "what all images were coded with, fixed in the file")
    add_key_argument(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument(
        "--no-check", action="store_true", help="do not compare the file with the network"
    )


def run(args: argparse.Namespace) -> int:
    """Exports, then runs the file against the network where this machine can."""
    return _export_onnx(args) if args.format == "onnx" else _export_stablehlo(args)


def _export_stablehlo(args: argparse.Namespace) -> int:
    import jax

    from armoe_jax.checkpoints.weights import load_weights
    from armoe_jax.exported.writer import check_export, export_model

    model = load_weights(args.checkpoint, key=args.key)
    info = export_model(
        args.out,
        model.config,
        model.variables,
        tile=args.tile,
        batch=args.batch,
        platforms=args.platforms or DEFAULT_PLATFORMS,
        dtype=args.dtype,
        coding_quality=args.coding_quality,
        provenance=model.provenance,
        overwrite=args.overwrite,
    )
    sys.stdout.write(
        f"{args.out}: ({info.batch or 'any'}, {info.tile}, {info.tile}, {info.channels}) -> scale "
        f"{info.scale}, {info.dtype}, for {', '.join(info.platforms)}\n"
    )
    here = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
    if args.no_check or here not in info.platforms:
        return 0
    difference = check_export(args.out, model.config, model.variables)
    sys.stdout.write(f"largest difference from the network on {here}: {difference:.2e}\n")
    return 0


def _export_onnx(args: argparse.Namespace) -> int:
    from armoe_jax.checkpoints.weights import load_weights
    from armoe_jax.exported.onnx_writer import INPUT, OUTPUT, check_onnx, export_onnx

    if args.platforms or args.dtype != "float32":
        option = "--platforms" if args.platforms else f"--dtype {args.dtype}"
        raise ValueError(f"{option} is for --format stablehlo; ONNX is float32 and runs anywhere")
    model = load_weights(args.checkpoint, key=args.key)
    info = export_onnx(
        args.out,
        model.config,
        model.variables,
        tile=args.tile,
        batch=args.batch,
        coding_quality=args.coding_quality,
        provenance=model.provenance,
        overwrite=args.overwrite,
    )
    sys.stdout.write(
        f"{args.out}: {INPUT} and {OUTPUT} ({info.batch or 'any'}, {info.channels}, {info.tile}, "
        f"{info.tile}), float32 in [0, 1]; opset {info.opset}, {info.num_bytes / 1e6:.2f} MB\n"
    )
    if not args.no_check:
        difference = check_onnx(args.out, info, model.config, model.variables)
        sys.stdout.write(f"largest difference from the network in ONNX Runtime: {difference:.2e}\n")
    return 0
