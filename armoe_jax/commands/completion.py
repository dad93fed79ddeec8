"""`armoe-jax completion`: a script that makes a shell complete commands, options and files."""

import argparse
import sys

HELP = "Print a script that lets a shell complete commands, options and files."

TAKES_PARSER = True
"""Completion is of all commands."""

SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")

_FOLDERS = ("DIR", "DIR|off")
_FILES = ("CKPT", "DST", "FILE", "INPUT", "OUT", "SRC")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the argument of this command."""
    parser.add_argument(
        "shell",
        choices=SHELLS,
        help='for bash, put eval "$(armoe-jax completion bash)" into ~/.bashrc; zsh and fish keep '
        "the script as a file, _armoe-jax on $fpath and completions/armoe-jax.fish",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the script."""
    import shtab

    _mark_paths(args.parser)
    sys.stdout.write(f"{shtab.complete(args.parser, args.shell)}\n")
    return 0


def _mark_paths(parser: argparse.ArgumentParser) -> None:
    """Says which arguments are files and folders; the metavariables tell."""
    import shtab

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                _mark_paths(sub)
        elif action.metavar in (*_FILES, *_FOLDERS):
            kind = shtab.DIRECTORY if action.metavar in _FOLDERS else shtab.FILE
            action.complete = kind  # pyright: ignore[reportAttributeAccessIssue]
