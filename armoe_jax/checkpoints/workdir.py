"""Training workdirs, read: WORKDIR/checkpoints/STEP, as `training.checkpointer` writes them.

A checkpoint has four parts: `model` (parameters and running statistics), `ema` (their moving
averages), `training` (optimiser, counters, accumulated metrics) and `meta` (JSON: architecture,
configuration, data position, and a fingerprint of every array, by which damage is noticed that the
file format does not notice).
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging

from armoe_jax.checkpoints import arrays
from armoe_jax.convert import KEYS
from armoe_jax.models.build import AnyConfig, config_from_dict
from armoe_jax.runtime.errors import kind_and_line
from armoe_jax.runtime.files import write_atomically

PyTree = Any
Meta = dict[str, Any]

FOLDER = "checkpoints"
BEST_METRIC = "psnr_y"
_ARRAY_ITEMS = ("model", "ema", "training")
_MAX_LINE = 300


class _NoAveragesError(KeyError):
    """Averages are asked for of a run that keeps none: no damage."""


def is_workdir(path: str | Path) -> bool:
    """Returns whether a path is the working directory of a training run with checkpoints."""
    return bool(complete_steps(Path(path) / FOLDER))


def load_workdir(path: str | Path, key: str = "auto") -> tuple[AnyConfig, dict[str, PyTree]]:
    """Returns a trained model: the best checkpoint if the run was validated, else the newest.

    Args:
        path: Working directory of a training run.
        key: "auto" for the moving averages if the run keeps them, else the raw parameters;
            "params" or "params_ema" to choose.

    Returns:
        The architecture, and variables as NumPy arrays.

    Raises:
        FileNotFoundError: There is no checkpoint.
        KeyError: `key` is unknown, or "params_ema" of a run without moving averages.
        ValueError: All checkpoints are damaged.
    """
    if key not in KEYS:
        raise KeyError(f"key={key!r} is not allowed for a training workdir; choose one of {KEYS}")
    folder = Path(path).absolute() / FOLDER
    if not is_workdir(path):
        raise FileNotFoundError(f"no checkpoint in {folder}; train with --workdir {path} first")
    # Not `read_only`, of which Orbax warns three times; nothing is written anyway.
    options = ocp.CheckpointManagerOptions(create=False, best_fn=validation_psnr)
    with open_manager(folder, options) as manager:
        for step in _by_preference(manager):
            try:
                meta = read_meta(manager, step)
                item = _choose_item(meta, key, path)
                return config_from_dict(meta["model"]), _read_variables(manager, step, item, meta)
            except _NoAveragesError:
                raise
            except Exception as error:
                logging.error(
                    "the checkpoint of step %d in %s is damaged and is not used: %s",
                    step,
                    folder,
                    describe_error(error),
                )
    raise ValueError(f"all checkpoints in {folder} are damaged")


def complete_steps(folder: Path) -> list[int]:
    """Returns the steps of all complete checkpoints in a folder, oldest first; [] without it."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.is_dir() and p.name.isdigit())


def validation_psnr(metrics: Mapping[str, float]) -> float:
    """Returns by what the best checkpoint is chosen; -inf without validation."""
    return metrics.get(BEST_METRIC, -math.inf)


def open_manager(folder: Path, options: ocp.CheckpointManagerOptions) -> ocp.CheckpointManager:
    """Returns Orbax's manager of a folder of checkpoints with our four parts."""
    handlers: dict[str, Any] = {name: ocp.StandardCheckpointHandler() for name in _ARRAY_ITEMS}
    handlers["meta"] = ocp.JsonCheckpointHandler()
    return ocp.CheckpointManager(folder, options=options, item_handlers=handlers)


def read_meta(manager: ocp.CheckpointManager, step: int) -> Meta:
    """Returns a checkpoint's description; raises ValueError if it is incomplete."""
    restored = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
    meta = restored["meta"]
    if not isinstance(meta, dict) or meta.get("step") != step or "fingerprints" not in meta:
        raise ValueError("its description is incomplete")
    return meta


def write_metrics(checkpoint: Path, metrics: Mapping[str, float]) -> None:
    """Writes validation results where Orbax's manager looks for those of a checkpoint."""
    # Orbax itself writes them with the arrays only, which are on disk before they are validated.
    write_atomically(checkpoint / "metrics" / "metrics", json.dumps(dict(metrics)))


def check_fingerprints(items: Mapping[str, PyTree], meta: Meta) -> None:
    """Raises ValueError if arrays differ from those that were saved."""
    for name, item in items.items():
        if arrays.fingerprint(item) != meta["fingerprints"][name]:
            raise ValueError(f"the arrays of its part {name!r} are not those that were saved")


def describe_error(error: Exception | None) -> str:
    """Returns the kind of an error and its message in one line, cut where Orbax lists whole trees.

    Args:
        error: What was raised; None if another process of the run raised it.
    """
    return kind_and_line(error)[:_MAX_LINE] if error else "another process could not read it"


def _by_preference(manager: ocp.CheckpointManager) -> Iterator[int]:
    """Yields the best step first if there is one, then all others, newest first."""
    best = manager.best_step()
    if best is not None and BEST_METRIC in (manager.metrics(best) or {}):
        yield best
        yield from (step for step in sorted(manager.all_steps(), reverse=True) if step != best)
    else:
        yield from sorted(manager.all_steps(), reverse=True)


def _choose_item(meta: Meta, key: str, path: str | Path) -> str:
    has_ema = "ema" in meta["fingerprints"]
    if key == "params_ema" and not has_ema:
        raise _NoAveragesError(
            f"{path} has no moving averages (train.ema is off); use key='params'"
        )
    return "ema" if has_ema and key != "params" else "model"


def _read_variables(
    manager: ocp.CheckpointManager, step: int, item: str, meta: Meta
) -> dict[str, PyTree]:
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    saved = manager.item_metadata(step)[item]
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
        dict(getattr(saved, "tree", saved)),
    )
    args = ocp.args.Composite(**{item: ocp.args.StandardRestore(like)})
    variables = manager.restore(step, args=args)[item]
    variables = arrays.with_empty_shapes(variables, meta["empty"][item])
    check_fingerprints({item: variables}, meta)
    return variables
