"""What is saved with a state about the run, and whether a run may continue from it."""

from collections.abc import Callable, Mapping
from typing import Any

from absl import logging

from armoe_jax.models import Network


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


def _data_order(config: Any) -> dict[str, Any]:
    return {
        "seed": config.train.seed,
        "batch_size": config.train.batch_size,
        "patch_size": config.data.patch_size,
    }
