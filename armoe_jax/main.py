"""Trains or evaluates: python -m armoe_jax.main --config FILE --workdir DIR [--mode train|eval]."""

import logging as python_logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging

import configs
from armoe_jax.cli import USAGE_ERROR
from armoe_jax.runtime.errors import one_line, tell, write_any_name
from armoe_jax.runtime.huge_pages import restart_with_huge_pages

FAILURE = 1
SIGNAL_EXIT = 128  # exit status of a process ended by signal n is 128 + n

_CONFIG = flags.DEFINE_string(
    "config",
    "",
    "Configuration: FILE or FILE:ARGUMENT; looked up among the installed configs if absent. Change "
    "its fields with --config.GROUP.FIELD=VALUE.",
)
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run: checkpoints, metrics, images.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "eval"], "What to do.")


def main(argv: Sequence[str]) -> int:
    """Runs with parsed flags and returns the exit status: 0, 1 (failed) or 2 (bad usage).

    Args:
        argv: The program's name, then fields of the configuration to change, as FIELD=VALUE.
    """
    try:
        config = configs.load(_CONFIG.value, argv[1:])
    except (ValueError, FileNotFoundError) as error:
        return _complain(ValueError(f"{one_line(error)} (see --help)"), USAGE_ERROR)
    _quiet_libraries()
    from armoe_jax.training import distributed  # imports JAX, which --help needs not
    from armoe_jax.training.loop import NonFiniteError

    try:
        if _MODE.value == "train":
            distributed.initialize(config.distributed.to_dict())
            if distributed.is_helper():
                logging.set_verbosity(logging.WARNING)
        return _run(config, _WORKDIR.value)
    except (OSError, NonFiniteError) as error:
        return _complain(error, USAGE_ERROR if isinstance(error, FileNotFoundError) else FAILURE)
    except Exception as error:
        return tell(error, "armoe_jax.main")


def _run(config: Any, workdir: str) -> int:
    from armoe_jax.training.final_report import evaluate_workdir, format_report
    from armoe_jax.training.preemption import Preempted
    from armoe_jax.training.train import train_and_evaluate

    job = train_and_evaluate if _MODE.value == "train" else evaluate_workdir
    try:
        report = job(config, workdir)
    except Preempted as stop:
        sys.stderr.write(f"{stop}; run the same command again to continue\n")
        return SIGNAL_EXIT + stop.signal_number
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to continue\n")
        return 130
    if report is not None:
        sys.stdout.write(format_report(report) + "\n")
        sys.stdout.write(f"restored images, comparison.png and evaluation.json are in {workdir}\n")
    return 0


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses the command line; ends the process with one line and status 2 if it is wrong.

    Returns:
        What `main` takes.
    """
    arguments, overrides = split_overrides(argv[1:])
    try:
        rest = flags.FLAGS([argv[0], *arguments])
    except flags.Error as error:
        _exit_with_usage_error(error)
    if len(rest) > 1:
        _exit_with_usage_error(ValueError(f"unexpected arguments {rest[1:]}"))
    for flag in (_CONFIG, _WORKDIR):
        if not flag.value:
            _exit_with_usage_error(ValueError(f"--{flag.name} is required"))
    return [argv[0], *overrides]


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the arguments without, and as FIELD=VALUE, those that change the configuration.

    As absl does with flags, `--config.FIELD VALUE`, `--config.FIELD` (true) and `--noconfig.FIELD`
    (false) are understood, too.
    """
    others, overrides = [], []
    words = list(arguments)
    while words:
        word = words.pop(0)
        match = re.fullmatch(r"--?(no)?config\.([^=]+)(=.*)?", word, re.DOTALL)
        if match is None:
            others.append(word)
            continue
        negated, field, value = match.groups()
        if value is None and not negated and words and not words[0].startswith("--"):
            value = f"={words.pop(0)}"
        overrides.append(f"{field}{value or f'={not negated}'}")
    return others, overrides


def _exit_with_usage_error(error: Exception) -> NoReturn:
    sys.exit(_complain(ValueError(f"{one_line(error)} (see --help)"), USAGE_ERROR))


def _complain(error: Exception, status: int) -> int:
    sys.stderr.write(f"armoe_jax.main: {one_line(error)}\n")
    return status


def _quiet_libraries() -> None:
    """Shows this project's messages, and of other libraries warnings only."""
    logging.get_absl_handler().addFilter(_from_here_or_important)
    sys.unraisablehook = _tell_unless_told
    if flags.FLAGS["verbosity"].using_default_value:
        logging.set_verbosity(logging.INFO)


def _from_here_or_important(record: python_logging.LogRecord) -> bool:
    parts = Path(record.pathname).parts
    if "armoe_jax" in parts or "input_pipeline" in parts:
        return True
    # What goes wrong in a checkpoint reaches us as an exception; that is told, once.
    return record.levelno >= python_logging.WARNING and not {"orbax", "asyncio"} & {*parts}


def _tell_unless_told(late: "sys.UnraisableHookArgs") -> None:
    """Leaves out the hundreds of tracebacks of TensorStore's threads after a write has failed.

    Their results find the event loop of the failed save closed; its error is what we tell.
    """
    if not (late.exc_type is RuntimeError and str(late.exc_value) == "Event loop is closed"):
        sys.__unraisablehook__(late)


def entry_point() -> None:
    """Parses the command line and runs `main` under absl."""
    restart_with_huge_pages()
    write_any_name()
    app.run(main, flags_parser=parse_flags)


if __name__ == "__main__":
    entry_point()
