"""Command-line options that say which network restores, and how; shared by several commands."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from armoe_jax.restore import Restorer

JPEG_MODEL = "car_small_jpeg"
CODEC_MODEL = "car_small_vvc"
MODELS = ("auto", CODEC_MODEL, JPEG_MODEL)

JPEG_SUFFIXES = (".jpg", ".jpeg")

_OPTIONS = ("tile", "overlap", "dtype", "route", "gate", "seed", "batch_size")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --checkpoint, --model and --key."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "--checkpoint",
        metavar="CKPT",
        help="model folder, training workdir, .pth or .safetensors file, or name of shipped "
        "weights",
    )
    group.add_argument(
        "--model",
        choices=MODELS,
        default="auto",
        help="shipped weights to use without --checkpoint; auto: those for JPEG for .jpg files, "
        "else those for VVC (default: %(default)s)",
    )
    group.add_argument(
        "--key",
        choices=("auto", "params", "params_ema"),
        default="auto",
        help="which weights of a checkpoint that holds several (default: %(default)s)",
    )


def add_restorer_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `Restorer`, and the one of the compilation cache."""
    group = parser.add_argument_group("restoration")
    group.add_argument(
        "--tile",
        type=tile_mode,
        default="auto",
        metavar="auto|N|none|released",
        help="auto: whole images where memory allows, else tiles; N: tiles of N pixels; none: "
        "always whole; released: the published tiled test (default: auto)",
    )
    group.add_argument(
        "--overlap", type=int, default=32, help="pixels that tiles share (default: %(default)s)"
    )
    group.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="precision of matrix products (default: %(default)s)",
    )
    group.add_argument(
        "--route",
        choices=("tile", "image"),
        default="tile",
        help="who chooses the experts: each tile, or the whole image for all of its tiles "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--gate",
        choices=("argmax", "sample"),
        default="argmax",
        help="choose the likeliest experts, or draw them as the released code does "
        "(default: %(default)s)",
    )
    group.add_argument("--seed", type=int, default=0, help="of --gate sample (default: 0)")
    group.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="tiles or equal images that run together (default: by the device)",
    )
    group.add_argument(
        "--compilation-cache",
        metavar="DIR|off",
        help="where compiled programs are kept (default: $ARMOE_JAX_CACHE or the user's cache)",
    )


def tile_mode(text: str) -> str | int:
    """Parses --tile.

    Raises:
        ArgumentTypeError: If it is neither a mode nor a number.
    """
    if text in ("auto", "none", "released"):
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not auto, none, released or a number of pixels"
        ) from None


def model_name(args: argparse.Namespace, path: Path) -> str:
    """Returns the checkpoint that the options choose for a file."""
    if args.checkpoint:
        return args.checkpoint
    if args.model != "auto":
        return args.model
    return JPEG_MODEL if path.suffix.lower() in JPEG_SUFFIXES else CODEC_MODEL


def load_restorer(args: argparse.Namespace, name: str) -> "Restorer":
    """Loads a checkpoint with the restoration options of the command line.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it is damaged, or an option is out of range.
    """
    from absl import logging

    from armoe_jax import compilation_cache
    from armoe_jax.pretrained import load_pretrained, shipped_names

    if not args.checkpoint and name not in shipped_names():
        raise FileNotFoundError(
            f"no --checkpoint is given, and the weights {name!r} do not come with this "
            "installation; give --checkpoint, for example the workdir of a training run"
        )
    compilation_cache.enable(args.compilation_cache)
    options: dict[str, Any] = {option: getattr(args, option) for option in _OPTIONS}
    # The checkpoint library logs a dozen lines of its own at the level of our progress.
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        return load_pretrained(name, key=args.key, **options)
    finally:
        logging.set_verbosity(verbosity)
