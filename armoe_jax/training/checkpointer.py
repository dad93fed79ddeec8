"""Training checkpoints: WORKDIR/checkpoints/STEP, written by Orbax asynchronously and atomically.

A checkpoint has four parts: `model` (parameters and running statistics), `ema` (their moving
averages), `training` (optimiser, counters, accumulated metrics) and `meta` (JSON: architecture,
configuration, data position, and a fingerprint of every array, by which damage is noticed that the
file format does not notice).
"""

import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies

from armoe_jax.checkpoints import arrays as checkpoint_arrays
from armoe_jax.checkpoints.arrays import fingerprint
from armoe_jax.models import ARMoEConfig
from armoe_jax.models.stacking import stack_like, unstack_blocks
from armoe_jax.training.state import TrainState, as_variables

PyTree = Any
Meta = dict[str, Any]

FOLDER = "checkpoints"
DAMAGED_FOLDER = "damaged_checkpoints"
BEST_METRIC = "psnr_y"
_ARRAY_ITEMS = ("model", "ema", "training")
_KEYS = ("auto", "params", "params_ema")


@dataclasses.dataclass(frozen=True)
class SavePlan:
    """When checkpoints are written and which are kept.

    Attributes:
        every: Steps between checkpoints.
        num_steps: Length of the run; the last step is always saved.
        keep: Newest checkpoints that are kept, beside the best by validation PSNR-Y.
    """

    every: int
    num_steps: int
    keep: int = 3

    def __post_init__(self):
        if self.every < 1:
            raise ValueError(f"checkpoint.every is {self.every}; it must be 1 or more")
        if self.keep < 1:
            raise ValueError(f"checkpoint.keep is {self.keep}; it must be 1 or more")

    def options(self) -> ocp.CheckpointManagerOptions:
        """Returns the plan as Orbax's policies."""
        save = [
            policies.FixedIntervalPolicy(self.every),
            policies.SpecificStepsPolicy({self.num_steps}),
        ]
        best = policies.BestN(get_metric_fn=_psnr_of, n=1, keep_checkpoints_without_metrics=False)
        return ocp.CheckpointManagerOptions(
            save_decision_policy=policies.AnySavePolicy(save),
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(self.keep), best]),
            best_fn=_psnr_of,
            cleanup_tmp_directories=True,
        )


def _psnr_of(metrics: Mapping[str, float]) -> float:
    return metrics.get(BEST_METRIC, -math.inf)


class Checkpointer:
    """Saves and restores a run's state; use as a context manager, which waits for the last save."""

    def __init__(self, workdir: str | Path, plan: SavePlan):
        self._workdir = Path(workdir).absolute()
        self._manager = _make_manager(self._workdir / FOLDER, plan.options())

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(self, *error: object) -> None:
        # After an error the run has failed already: what closing adds must not hide it.
        try:
            self._manager.close()
        except Exception as late:
            if error[0] is None:
                raise self._failed("finish", late) from late
            logging.error("a checkpoint could not be finished either: %s", late)

    def steps(self) -> list[int]:
        """Returns the steps of all complete checkpoints, oldest first."""
        return sorted(self._manager.all_steps())

    def is_due(self, step: int) -> bool:
        """Returns whether the plan wants a checkpoint after this many steps."""
        return self._manager.should_save(step)

    def save(
        self,
        state: TrainState,
        meta: Mapping[str, Any],
        *,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Starts to save the state; returns while it is being written.

        An existing checkpoint of the same step is replaced.

        Args:
            state: The state on its mesh; it may be donated as soon as this returns.
            meta: What `restore` gives back; JSON values.
            metrics: Validation results of this state, with "psnr_y".

        Raises:
            OSError: This or an earlier save failed; older checkpoints are intact.
        """
        step = int(state.step)
        self.wait()
        try:
            if step in self._manager.all_steps():
                self._manager.delete(step)
            items = _split(state)
            full_meta = dict(meta) | {
                "step": step,
                "fingerprints": {name: fingerprint(item) for name, item in items.items()},
                "empty": {n: checkpoint_arrays.empty_shapes(item) for n, item in items.items()},
            }
            args = {
                name: ocp.args.StandardSave(checkpoint_arrays.fill_empty(item))
                for name, item in items.items()
            }
            self._manager.save(
                step,
                args=ocp.args.Composite(**args, meta=ocp.args.JsonSave(full_meta)),
                metrics=dict(metrics or {}),
                force=True,
            )
        except Exception as error:
            raise self._failed(f"save step {step} of", error) from error

    def wait(self) -> None:
        """Waits until the save in progress is on disk.

        Raises:
            OSError: It failed; older checkpoints are intact.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._failed("finish", error) from error

    def restore(
        self, like: TrainState, *, check: Callable[[Meta], None] = lambda meta: None
    ) -> tuple[TrainState, Meta] | None:
        """Returns the newest undamaged state and its meta, or None if there is no checkpoint.

        A damaged checkpoint is reported and moved to WORKDIR/damaged_checkpoints.

        Args:
            like: Shapes, types and shardings of the wanted state (`jax.ShapeDtypeStruct` leaves).
            check: Called with the meta before arrays are read; raises if the checkpoint is sound
                but does not fit this run.

        Raises:
            ValueError: There are checkpoints, but all are damaged; or `check` raised it.
        """
        damaged = []
        for step in reversed(self.steps()):
            try:
                meta = _read_meta(self._manager, step)
                problem = None
            except Exception as error:
                meta, problem = {}, error
            if not _any_process(problem is not None):
                check(meta)
                try:
                    return self._read_state(step, like, meta), meta
                except Exception as error:
                    problem = error
            self._set_aside(step, problem)
            damaged.append(step)
        if damaged:
            raise ValueError(
                f"all checkpoints in {self._workdir / FOLDER} are damaged (steps {damaged}); they "
                f"are in {self._workdir / DAMAGED_FOLDER} now: start again to train from the "
                "beginning, or use another --workdir"
            )
        return None

    def _read_state(self, step: int, like: TrainState, meta: Meta) -> TrainState:
        wanted = _split(like)
        args = {
            name: ocp.args.StandardRestore(checkpoint_arrays.fill_empty(item))
            for name, item in wanted.items()
        }
        restored = self._manager.restore(step, args=ocp.args.Composite(**args))
        items = {
            name: checkpoint_arrays.restore_empty(restored[name], item)
            for name, item in wanted.items()
        }
        _check_fingerprints(items, meta)
        return _join(items, like)

    def _set_aside(self, step: int, problem: Exception | None) -> None:
        logging.error(
            "the checkpoint of step %d is damaged and is not used: %s", step, _first_line(problem)
        )
        if jax.process_index() == 0:
            _move_aside(self._workdir, step)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"damaged checkpoint {step}")
        self._manager.reload()

    def _failed(self, what: str, error: Exception) -> OSError:
        complete = _complete_steps(self._workdir / FOLDER)
        kept = (
            f"the checkpoints of steps {complete} are intact" if complete else "there is no older"
        )
        return OSError(
            f"could not {what} a checkpoint in {self._workdir / FOLDER}: {_first_line(error)}; "
            f"{kept}; free some space or check the folder, then run the same command again to "
            "continue"
        )


def is_workdir(path: str | Path) -> bool:
    """Returns whether a path is the working directory of a training run with checkpoints."""
    return bool(_complete_steps(Path(path) / FOLDER))


def load_workdir(path: str | Path, key: str = "auto") -> tuple[ARMoEConfig, dict[str, PyTree]]:
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
    if key not in _KEYS:
        raise KeyError(f"key={key!r} is not allowed for a training workdir; choose one of {_KEYS}")
    folder = Path(path).absolute() / FOLDER
    if not is_workdir(path):
        raise FileNotFoundError(f"no checkpoint in {folder}; train with --workdir {path} first")
    # Not `read_only`, of which Orbax warns three times; nothing is written anyway.
    options = ocp.CheckpointManagerOptions(create=False, best_fn=_psnr_of)
    with _make_manager(folder, options) as manager:
        for step in _by_preference(manager):
            try:
                meta = _read_meta(manager, step)
                item = _choose_item(meta, key, path)
                return ARMoEConfig.from_dict(meta["model"]), _read_variables(
                    manager, step, item, meta
                )
            except KeyError:
                raise
            except Exception as error:
                logging.error(
                    "the checkpoint of step %d in %s is damaged and is not used: %s",
                    step,
                    folder,
                    _first_line(error),
                )
    raise ValueError(f"all checkpoints in {folder} are damaged")


def _make_manager(folder: Path, options: ocp.CheckpointManagerOptions) -> ocp.CheckpointManager:
    handlers: dict[str, Any] = {name: ocp.StandardCheckpointHandler() for name in _ARRAY_ITEMS}
    handlers["meta"] = ocp.JsonCheckpointHandler()
    return ocp.CheckpointManager(folder, options=options, item_handlers=handlers)


def _split(state: TrainState) -> dict[str, PyTree]:
    """Returns the parts of a checkpoint, an array per block; `ema` only if there is one."""
    state = unstack_blocks(state)
    items = {
        "model": state.variables,
        "training": {
            "step": state.step,
            "skipped_in_a_row": state.skipped_in_a_row,
            "opt_state": state.opt_state,
            "metrics": state.metrics,
        },
    }
    if state.ema:
        items["ema"] = as_variables(state.ema["params"], state.ema["batch_stats"])
    return items


def _join(items: Mapping[str, PyTree], like: TrainState) -> TrainState:
    model, training = items["model"], items["training"]
    ema = items.get("ema", {})
    state = dataclasses.replace(
        like,
        **training,
        params=model["params"],
        batch_stats=model.get("batch_stats", {}),
        ema={"params": ema["params"], "batch_stats": ema.get("batch_stats", {})} if ema else {},
    )
    return stack_like(state, like)


def _read_meta(manager: ocp.CheckpointManager, step: int) -> Meta:
    restored = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
    meta = restored["meta"]
    if not isinstance(meta, dict) or meta.get("step") != step or "fingerprints" not in meta:
        raise ValueError("its description is incomplete")
    return meta


def _check_fingerprints(items: Mapping[str, PyTree], meta: Meta) -> None:
    for name, item in items.items():
        if fingerprint(item) != meta["fingerprints"][name]:
            raise ValueError(f"the arrays of its part {name!r} are not those that were saved")


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
        raise KeyError(f"{path} has no moving averages (train.ema is off); use key='params'")
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
    variables = checkpoint_arrays.with_empty_shapes(variables, meta["empty"][item])
    _check_fingerprints({item: variables}, meta)
    return variables


def _complete_steps(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.is_dir() and p.name.isdigit())


def _move_aside(workdir: Path, step: int) -> None:
    target = workdir / DAMAGED_FOLDER / str(step)
    target.parent.mkdir(exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    (workdir / FOLDER / str(step)).rename(target)


def _any_process(flag: bool) -> bool:
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def _first_line(error: Exception | None) -> str:
    if error is None:
        return "another process could not read it"
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[0].strip() if lines else ""
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
