"""The console command `armoe-jax`: a table of sub-commands, each in a module of its own."""

import argparse
import importlib
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, NoReturn

from armoe_jax.runtime.errors import tell, write_any_name
from armoe_jax.runtime.huge_pages import restart_with_huge_pages

COMMANDS = {
    "restore": "armoe_jax.commands.restore",
    "evaluate": "armoe_jax.commands.evaluate",
    "build-dataset": "armoe_jax.commands.build_dataset",
    "convert": "armoe_jax.commands.convert",
    "benchmark": "armoe_jax.commands.benchmark",
    "report": "armoe_jax.commands.report",
    "export": "armoe_jax.commands.export",
    "demo": "armoe_jax.commands.demo",
    "doctor": "armoe_jax.commands.doctor",
    "completion": "armoe_jax.commands.completion",
}
"""Sub-command -> module with `HELP`, `add_arguments(parser)` and `run(args) -> exit status`.

A module with TAKES_PARSER finds the parser of all in `args.parser`.
"""

USAGE_ERROR = 2


class _OneLineParser(argparse.ArgumentParser):
    """Reports bad usage in one line instead of printing the whole usage text."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Exits with status 2 and one line on stderr."""
        self.exit(USAGE_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    """Prints versions and devices; looks for them only when asked, since that starts JAX."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import jax

        import armoe_jax

        kinds = Counter(device.device_kind for device in jax.devices())
        devices = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        sys.stdout.write(
            f"armoe-jax {armoe_jax.__version__}, jax {jax.__version__} on "
            f"{jax.default_backend()} ({devices})\n"
        )
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all sub-commands."""
    parser = _OneLineParser(
        prog="armoe-jax", description="Removes compression artifacts with ARMoE, and measures it."
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="print versions of this and of JAX, and devices"
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module_path in COMMANDS.items():
        module = importlib.import_module(module_path)
        sub = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
        if getattr(module, "TAKES_PARSER", False):
            sub.set_defaults(parser=parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one sub-command.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        0 on success, 1 if some items failed or for an error of the program (with a traceback), 2
        on bad usage or bad input (one line on stderr), 130 if interrupted.
    """
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        sys.stderr.write(f"armoe-jax {args.command}: interrupted\n")
        return 130
    except Exception as error:
        return tell(error, f"armoe-jax {args.command}")


def entry_point(command: str | None = None) -> NoReturn:
    """Runs `main` in a process of its own and exits with its status.

    Args:
        command: Sub-command that the process's arguments belong to; by default they begin with it.
    """
    restart_with_huge_pages()
    write_any_name()
    sys.exit(main(None if command is None else [command, *sys.argv[1:]]))


if __name__ == "__main__":
    entry_point()
