"""Command-line options that say which network restores, and how; shared by several commands."""

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from armoe_jax.checkpoints.shipped import MODELS, PURPOSES

if TYPE_CHECKING:
    from armoe_jax.restore import Restorer

AUTO = "auto"

KEYS = ("auto", "params", "params_ema")
"""Those of `armoe_jax.convert`, which is not imported for them: it would load JAX for a help."""

_OPTIONS = ("tile", "overlap", "dtype", "route", "gate", "seed", "batch_size", "coding_quality")


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
        choices=(AUTO, *MODELS),
        default=AUTO,
        help="shipped weights to use without --checkpoint; auto: those for JPEG for JPEG files and "
        "Motion JPEG, else those for VVC (default: %(default)s)",
    )
    add_key_argument(group)


def add_key_argument(parser: argparse._ActionsContainer) -> None:
    """Adds --key."""
    parser.add_argument(
        "--key",
        choices=KEYS,
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
    add_coded_at_argument(group, "what the input was coded with, if known")
    group.add_argument(
        "--compilation-cache",
        metavar="DIR|off",
        help="where compiled programs are kept (default: $ARMOE_JAX_CACHE or the user's cache)",
    )


def add_coded_at_argument(parser: argparse._ActionsContainer, what: str) -> None:
    """Adds --coded-at; its help begins with `what` it is."""
    parser.add_argument(
        "--coded-at",
        type=float,
        dest="coding_quality",
        metavar="QP",
        help=f"{what}: QP, or quality of JPEG; for networks that adapt to it (default: they "
        "estimate it)",
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


def model_name(args: argparse.Namespace, automatic: str) -> str:
    """Returns the checkpoint that the options choose for a file.

    Args:
        args: Parsed options.
        automatic: Name of the shipped weights that suit the file.
    """
    return args.checkpoint or (automatic if args.model == AUTO else args.model)


class Restorers:
    """The networks of one command, each loaded when it is first asked for.

    Args:
        args: Parsed options of `add_model_arguments` and `add_restorer_arguments`.
    """

    def __init__(self, args: argparse.Namespace):
        self._args = args
        self._loaded: dict[str, Restorer] = {}

    def require(self, names: Iterable[str]) -> None:
        """Checks, before any work is done, that shipped weights come with this installation.

        Raises:
            FileNotFoundError: If some do not.
        """
        from armoe_jax.checkpoints.shipped import shipped_names

        missing = sorted(set(names) - set(shipped_names()))
        if missing and not self._args.checkpoint:
            raise FileNotFoundError(
                f"no --checkpoint is given, and the weights {missing[0]!r} do not come with this "
                f"installation (those that do: {', '.join(shipped_names()) or 'none'}); give "
                "--checkpoint, for example the workdir of a training run"
            )

    def __call__(self, name: str) -> "Restorer":
        """Returns the restorer of a checkpoint; says so where the program has chosen it.

        Raises:
            FileNotFoundError: If there is no such checkpoint.
            ValueError: If it is damaged, or an option is out of range.
        """
        if name not in self._loaded:
            self.require([name])
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> "Restorer":
        from absl import logging

        from armoe_jax.restore.pretrained import load_pretrained
        from armoe_jax.runtime import compilation_cache

        args = self._args
        compilation_cache.enable(args.compilation_cache)
        options: dict[str, Any] = {option: getattr(args, option) for option in _OPTIONS}
        # The checkpoint library logs a dozen lines of its own at the level of our progress.
        verbosity = logging.get_verbosity()
        logging.set_verbosity(logging.WARNING)
        try:
            restorer = load_pretrained(name, key=args.key, **options)
        finally:
            logging.set_verbosity(verbosity)
        if not args.checkpoint and args.model == AUTO:
            logging.info("no --checkpoint given: %s, the weights for %s", name, PURPOSES[name])
        return restorer
