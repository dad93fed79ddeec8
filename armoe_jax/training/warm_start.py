"""Starts a run from trained weights: another run, a converted checkpoint, shipped weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util

PyTree = Any
_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a warm start took over.

    Attributes:
        loaded: Names of arrays taken from the checkpoint.
        fresh: Names of the network's arrays that the checkpoint does not have.
        misshapen: The same for arrays that differ in shape: name -> (checkpoint, network).
        unused: Names that only the checkpoint has.
    """

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    misshapen: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    unused: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether everything was loaded and nothing left over."""
        return not (self.fresh or self.misshapen or self.unused)

    def __str__(self) -> str:
        lines = [f"loaded {len(self.loaded)} arrays"]
        shapes = [f"{name} {old} -> {new}" for name, (old, new) in self.misshapen.items()]
        for title, names in (
            ("freshly initialised, not in the checkpoint", self.fresh),
            ("freshly initialised, other shape in the checkpoint", shapes),
            ("in the checkpoint only, not used", self.unused),
        ):
            if names:
                lines.append(f"{title} ({len(names)}): {_join(names)}")
        return "; ".join(lines)


def merge(
    fresh: Mapping[str, PyTree], source: Mapping[str, PyTree]
) -> tuple[dict[str, PyTree], LoadReport]:
    """Returns fresh variables with every array replaced that the source has in the same shape.

    Args:
        fresh: Variables of a newly initialised network.
        source: Variables of the checkpoint.
    """
    wanted: dict[str, Any] = traverse_util.flatten_dict(dict(fresh), sep="/")
    offered: dict[str, Any] = traverse_util.flatten_dict(dict(source), sep="/")
    fits = {n for n in wanted if n in offered and np.shape(offered[n]) == np.shape(wanted[n])}
    merged = {
        name: np.asarray(offered[name], value.dtype) if name in fits else value
        for name, value in wanted.items()
    }
    report = LoadReport(
        loaded=tuple(n for n in wanted if n in fits),
        fresh=tuple(n for n in wanted if n not in offered),
        misshapen={
            n: (np.shape(offered[n]), np.shape(wanted[n]))
            for n in wanted
            if n in offered and n not in fits
        },
        unused=tuple(n for n in offered if n not in wanted),
    )
    return traverse_util.unflatten_dict(merged, sep="/"), report


def require_complete(report: LoadReport, path: str) -> None:
    """Checks that a checkpoint fits exactly.

    Raises:
        ValueError: It does not; the message lists what differs.
    """
    if not report.complete:
        raise ValueError(
            f"{path} does not fit config.model: {report}; change config.model, or load what fits "
            "with --config.train.init_partial=True"
        )


def _join(names: Any) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
