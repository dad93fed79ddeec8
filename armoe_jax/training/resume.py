"""What is saved with a state about the run, and whether a run may continue from it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from armoe_jax.models import Network
from armoe_jax.runtime.json_files import read_json, write_json

TRAINING_SET_FILE = "training_set.json"
_SHOWN_NAMES = 5


def describe_checkpoint(config: Any, model: Network, step: int, validated: bool) -> dict[str, Any]:
    """Returns the description that is saved with a state."""
    return {
        "model": model.config.to_dict(),
        "config": config.to_dict(),
        "data": _data_order(config) | {"next_batch": step},
        "ema": config.train.ema,
        "validated": validated,
    }


def make_resume_check(config: Any, model: Network) -> Callable[[Mapping[str, Any]], None]:
    """Returns a check that a checkpoint belongs to this configuration."""

    def check(meta: Mapping[str, Any]) -> None:
        mine = model.config.to_dict() | {"ema": config.train.ema}
        # Fields that did not exist yet when it was saved had their defaults.
        saved = type(model.config)().to_dict() | meta["model"] | {"ema": meta["ema"]}
        differing = [
            f"{name}={mine.get(name)!r} (checkpoint: {saved.get(name)!r})"
            for name in sorted({*mine, *saved})
            if mine.get(name) != saved.get(name)
        ]
        if differing:
            raise ValueError(
                f"the run in this workdir has another network: {', '.join(differing)}; use another "
                "--workdir, and --config.train.init_from=THIS_WORKDIR to start from its weights"
            )
        for name, value in _data_order(config).items():
            if meta["data"].get(name) != value:
                logging.warning(
                    "%s is %s, but was %s: the data that follow are not those of the "
                    "interrupted run",
                    name,
                    value,
                    meta["data"].get(name),
                )

    return check


def note_training_set(workdir: Path, images: Mapping[str, Any]) -> None:
    """Writes WORKDIR/training_set.json; warns if an earlier start of the run had other images.

    Args:
        workdir: Working directory.
        images: Name of each training image -> what tells its versions apart; JSON values.
    """
    path = workdir / TRAINING_SET_FILE
    try:
        before = read_json(path)
    except (OSError, ValueError):
        before = None
    if isinstance(before, dict):
        changes = {
            "new": [name for name in images if name not in before],
            "gone": [name for name in before if name not in images],
            "changed": [n for n in images if n in before and images[n] != before[n]],
        }
        told = [f"{len(names)} {how} ({_some(names)})" for how, names in changes.items() if names]
        if told:
            logging.warning(
                "the training images are not those that the run began with: %s; what follows is "
                "not what the interrupted run would have been",
                ", ".join(told),
            )
    write_json(path, dict(images))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN_NAMES]) + (", ..." if len(names) > _SHOWN_NAMES else "")


def _data_order(config: Any) -> dict[str, Any]:
    return {
        "seed": config.train.seed,
        "batch_size": config.train.batch_size,
        "patch_size": config.data.patch_size,
    }
