"""`armoe-jax convert`: turns a checkpoint of one kind into another."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armoe_jax.commands.options import add_key_argument

HELP = (
    "Convert a checkpoint: .pth, .safetensors, model folder, workdir -> .pth, .safetensors, folder."
)

# Suffixes of other formats: DST would become a folder of that name, which nobody means.
FOREIGN_SUFFIXES = (".bin", ".ckpt", ".h5", ".npz", ".npy", ".onnx", ".pkl", ".tar", ".zip")

SHOWN_ARRAYS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument(
        "src",
        metavar="SRC",
        help="a .pth, .pt or .safetensors file, a model folder, a training workdir, or the name of "
        "weights that come with the package",
    )
    parser.add_argument(
        "dst",
        metavar="DST",
        help="NAME.pth (for PyTorch), NAME.safetensors, or a folder; its suffix decides",
    )
    add_key_argument(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace DST if it exists")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse weights that are not finite (NaN or infinite) instead of warning of them",
    )
    _add_architecture(parser.add_argument_group("architecture, where SRC does not show it"))


def _add_architecture(group: argparse._ArgumentGroup) -> None:
    """Adds what weights cannot show; left out, SRC's metadata or the released defaults hold."""
    group.add_argument("--img-range", type=float, help="factor of pixel values (default: 1)")
    group.add_argument(
        "--qk-scale", type=float, help="factor of attention logits (default: head width ** -0.5)"
    )
    group.add_argument(
        "--split-size", type=int, nargs=2, metavar=("H", "W"), help="attention window"
    )
    group.add_argument(
        "--global-skip",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether the input is added to the output (default: no)",
    )
    group.add_argument(
        "--experts",
        nargs="*",
        metavar="NAME",
        help="experts in the gate's order (default: the released dct fft haar swt)",
    )


def run(args: argparse.Namespace) -> int:
    """Converts; raises on bad input, in which case nothing is written."""
    from armoe_jax.checkpoints.weights import load_weights, save_weights
    from armoe_jax.runtime.files import refuse_existing

    dst = Path(args.dst)
    if dst.suffix.lower() in FOREIGN_SUFFIXES:
        raise ValueError(
            f"DST {args.dst} has the suffix {dst.suffix}; give .pth, .safetensors, or a folder"
        )
    refuse_existing(dst, overwrite=args.overwrite)
    model = load_weights(args.src, key=args.key, **_architecture(args))
    _look_for_non_finite(model.variables, args.src, strict=args.strict)
    save_weights(dst, model, overwrite=args.overwrite)
    sys.stdout.write(
        f"{dst}: {model.num_parameters:,} parameters; config "
        f"{json.dumps(model.config.to_dict())}; source {json.dumps(model.provenance)}\n"
    )
    return 0


def _look_for_non_finite(variables: Mapping[str, Any], src: str, *, strict: bool) -> None:
    from armoe_jax.convert import list_non_finite

    listed = list_non_finite(variables)
    if not listed:
        return
    more = f" and {len(listed) - SHOWN_ARRAYS} more arrays" if len(listed) > SHOWN_ARRAYS else ""
    message = f"{src} has weights that are not finite: {', '.join(listed[:SHOWN_ARRAYS])}{more}"
    if strict:
        raise ValueError(f"{message}; nothing was written (--strict)")
    sys.stderr.write(f"warning: {message}; what such a network restores is not usable\n")


def _architecture(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the given architecture fields only."""
    fields = ("img_range", "qk_scale", "split_size", "global_skip", "experts")
    values = {field: getattr(args, field) for field in fields}
    return {
        field: tuple(value) if isinstance(value, list) else value
        for field, value in values.items()
        if value is not None
    }
