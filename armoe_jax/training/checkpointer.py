"""Training checkpoints, written by Orbax asynchronously and atomically.

What a checkpoint holds, and how others read it: `checkpoints.workdir`.
"""

import dataclasses
import errno
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies

from armoe_jax.checkpoints import arrays
from armoe_jax.checkpoints.workdir import (
    FOLDER,
    Meta,
    check_fingerprints,
    complete_steps,
    describe_error,
    open_manager,
    read_meta,
    validation_psnr,
    write_metrics,
)
from armoe_jax.models.stacking import stack_like, unstack_blocks
from armoe_jax.training.state import TrainState, as_variables

PyTree = Any

DAMAGED_FOLDER = "damaged_checkpoints"

_PASSING_NUMBERS = {
    getattr(errno, name)
    for name in (
        *("EIO", "EACCES", "EPERM", "ESTALE", "ETIMEDOUT", "EMFILE", "ENFILE", "ENOMEM", "EAGAIN"),
        *("EBUSY", "EINTR", "ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "ENOTCONN"),
    )
    if hasattr(errno, name)
}
_PASSING = re.compile(
    "PERMISSION_DENIED|UNAVAILABLE|RESOURCE_EXHAUSTED|DEADLINE_EXCEEDED|Input/output error"
    "|Stale file handle|Too many open files|Permission denied"
)
"""As TensorStore and JAX tell of them, which have no numbers."""


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
        best = policies.BestN(
            get_metric_fn=validation_psnr, n=1, keep_checkpoints_without_metrics=False
        )
        return ocp.CheckpointManagerOptions(
            save_decision_policy=policies.AnySavePolicy(save),
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(self.keep), best]),
            best_fn=validation_psnr,
            cleanup_tmp_directories=True,
        )


class Checkpointer:
    """Saves and restores a run's state; use as a context manager, which waits for the last save."""

    def __init__(self, workdir: str | Path, plan: SavePlan):
        self._workdir = Path(workdir).absolute()
        self._manager = open_manager(self._workdir / FOLDER, plan.options())

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
    ) -> None:
        """Starts to save the state; returns while it is being written.

        A step that has a checkpoint keeps it: a run comes to a step with one state only.

        Args:
            state: The state on its mesh; it may be donated as soon as this returns.
            meta: What `restore` gives back; JSON values.

        Raises:
            OSError: This or an earlier save failed; older checkpoints are intact.
        """
        step = int(state.step)
        self.wait()
        if step in self._manager.all_steps():
            return
        try:
            items = _split(state)
            full_meta = dict(meta) | {
                "step": step,
                "fingerprints": {name: arrays.fingerprint(item) for name, item in items.items()},
                "empty": {n: arrays.empty_shapes(item) for n, item in items.items()},
            }
            args = {
                name: ocp.args.StandardSave(arrays.fill_empty(item)) for name, item in items.items()
            }
            self._manager.save(
                step,
                args=ocp.args.Composite(**args, meta=ocp.args.JsonSave(full_meta)),
                metrics={},
                force=True,
            )
        except Exception as error:
            raise self._failed(f"save step {step} of", error) from error

    def add_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Notes in the checkpoint of a step how good it is; waits until that is on disk.

        Args:
            step: It has been saved.
            metrics: Validation results, with "psnr_y".

        Raises:
            OSError: They could not be written, or the save before failed.
        """
        self.wait()
        if jax.process_index() == 0:
            try:
                write_metrics(self._workdir / FOLDER / str(step), metrics)
            except OSError as error:
                raise self._failed(f"add figures to step {step} as", error) from error
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"metrics of checkpoint {step}")
        self._manager.reload()

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

        A damaged checkpoint is reported and moved to WORKDIR/damaged_checkpoints. One that cannot
        be read at present stays where it is.

        Args:
            like: Shapes, types and shardings of the wanted state (`jax.ShapeDtypeStruct` leaves).
            check: Called with the meta before arrays are read; raises if the checkpoint is sound
                but does not fit this run.

        Raises:
            ValueError: There are checkpoints, but all are damaged; or `check` raised it.
            OSError: The newest cannot be read at present.
        """
        damaged = []
        for step in reversed(self.steps()):
            try:
                meta = read_meta(self._manager, step)
                problem = None
            except Exception as error:
                self._refuse_passing(step, error)
                meta, problem = {}, error
            if not _any_process(problem is not None):
                check(meta)
                try:
                    state = self._read_state(step, like, meta)
                except Exception as error:
                    self._refuse_passing(step, error)
                    problem = error
                else:
                    return state, self._with_validation(step, meta)
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
            name: ocp.args.StandardRestore(arrays.fill_empty(item)) for name, item in wanted.items()
        }
        restored = self._manager.restore(step, args=ocp.args.Composite(**args))
        items = {name: arrays.restore_empty(restored[name], item) for name, item in wanted.items()}
        check_fingerprints(items, meta)
        return _join(items, like)

    def _with_validation(self, step: int, meta: Meta) -> Meta:
        return meta | {"validated": True} if self._manager.metrics(step) else meta

    def _refuse_passing(self, step: int, error: Exception) -> None:
        """Raises OSError for what may be over at the next start, and says nothing of the files."""
        if not _is_passing(error):
            return
        raise OSError(
            f"the checkpoint of step {step} in {self._workdir / FOLDER} cannot be read at present "
            f"({describe_error(error)}); it stays where it is: run the same command again when the "
            "disk and its permissions are in order"
        ) from error

    def _set_aside(self, step: int, problem: Exception | None) -> None:
        logging.error(
            "the checkpoint of step %d is damaged and is not used: %s",
            step,
            describe_error(problem),
        )
        if jax.process_index() == 0:
            _move_aside(self._workdir, step)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"damaged checkpoint {step}")
        self._manager.reload()

    def _failed(self, what: str, error: Exception) -> OSError:
        complete = complete_steps(self._workdir / FOLDER)
        kept = (
            f"the checkpoints of steps {complete} are intact" if complete else "there is no older"
        )
        return OSError(
            f"could not {what} a checkpoint in {self._workdir / FOLDER}: {describe_error(error)}; "
            f"{kept}; free some space or check the folder, then run the same command again to "
            "continue"
        )


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


def _move_aside(workdir: Path, step: int) -> None:
    target = workdir / DAMAGED_FOLDER / str(step)
    target.parent.mkdir(exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    (workdir / FOLDER / str(step)).rename(target)


def _is_passing(error: BaseException | None) -> bool:
    """Tells failures of reading (a disk or network, permissions, memory) from damaged files."""
    while error is not None:
        if isinstance(error, MemoryError) or _PASSING.search(str(error)):
            return True
        if isinstance(error, OSError) and error.errno in _PASSING_NUMBERS:
            return True
        error = error.__cause__ or error.__context__
    return False


def _any_process(flag: bool) -> bool:
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))
