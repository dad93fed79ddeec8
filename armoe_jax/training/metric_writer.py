"""Writes the numbers and pictures of a run, with the method names of clu's metric writers.

clu's own writers need TensorFlow. Here numbers always go to a JSON lines file, and, where
tensorboardX is installed, numbers and pictures to TensorBoard.
"""

import importlib.util
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from absl import logging

from armoe_jax.runtime.files import write_atomically

METRICS_FILE = "metrics.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
VALIDATION_PREFIX = "eval/"

Number = float | int | np.number | None


@runtime_checkable
class MetricWriter(Protocol):
    """What the training loop needs of a writer."""

    def write_scalars(self, step: int, scalars: Mapping[str, Number]) -> None:
        """Writes numbers of one step."""
        ...

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes pictures, uint8 (h, w, 3)."""
        ...

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes the configuration of the run."""
        ...

    def flush(self) -> None:
        """Brings everything written so far to the disk."""
        ...

    def close(self) -> None:
        """Flushes and ends the writer."""
        ...


class JsonLinesWriter:
    """One JSON object a line: {"step": 100, "loss": ...}; non-finite numbers become null.

    Lines past `resume_step` and a line cut off by a crash are removed on opening; so is, of that
    step, what a validation wrote that has to be done again (`validated=False`).
    """

    def __init__(self, path: str | Path, *, resume_step: int = 0, validated: bool = True):
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        cut_after(self._path, resume_step, validated=validated)
        # Unbuffered, one write a line: a killed run leaves whole lines.
        self._file = self._path.open("ab", buffering=0)

    def write_scalars(self, step: int, scalars: Mapping[str, Number]) -> None:
        """Appends one line."""
        values = {name: _json_number(value) for name, value in scalars.items()}
        line = json.dumps({"step": int(step), **values}, allow_nan=False)
        self._file.write(line.encode() + b"\n")

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Leaves pictures out."""

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Leaves the configuration out; it is in config.json."""

    def flush(self) -> None:
        """Brings all lines to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        if not self._file.closed:
            self.flush()
            self._file.close()


class TensorBoardWriter:
    """TensorBoard event files, through tensorboardX; entries past `resume_step` are hidden."""

    def __init__(self, folder: str | Path, *, resume_step: int = 0):
        from tensorboardX import SummaryWriter  # an extra: absent from the base install

        purge: dict[str, Any] = {"purge_step": resume_step + 1} if resume_step else {}
        self._writer = SummaryWriter(str(folder), **purge)

    def write_scalars(self, step: int, scalars: Mapping[str, Number]) -> None:
        """Adds one point to each curve."""
        for name, value in scalars.items():
            if value is not None:
                self._writer.add_scalar(name, float(value), step)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Adds pictures."""
        for name, image in images.items():
            self._writer.add_image(name, image, step, dataformats="HWC")

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Adds the configuration as text."""
        text = json.dumps(hparams, indent=2, default=str)
        self._writer.add_text("config", "    " + text.replace("\n", "\n    "), 0)

    def flush(self) -> None:
        """Brings everything to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Ends the event file."""
        self._writer.close()


class MultiWriter:
    """Passes everything on to several writers; with none, everything is dropped."""

    def __init__(self, writers: Sequence[MetricWriter]):
        self._writers = tuple(writers)

    def __enter__(self) -> "MultiWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write_scalars(self, step: int, scalars: Mapping[str, Number]) -> None:
        """Writes numbers of one step."""
        for writer in self._writers:
            writer.write_scalars(step, scalars)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes pictures, uint8 (h, w, 3)."""
        for writer in self._writers:
            writer.write_images(step, images)

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes the configuration of the run."""
        for writer in self._writers:
            writer.write_hparams(hparams)

    def flush(self) -> None:
        """Brings everything written so far to the disk."""
        for writer in self._writers:
            writer.flush()

    def close(self) -> None:
        """Ends all writers."""
        for writer in self._writers:
            writer.close()


def create_writer(
    workdir: str | Path,
    *,
    resume_step: int = 0,
    validated: bool = True,
    tensorboard: bool = True,
    enabled: bool = True,
) -> MultiWriter:
    """Returns the writers of a run.

    Args:
        workdir: Working directory; gets metrics.jsonl and tensorboard/.
        resume_step: Step of the checkpoint the run continues from; later entries are removed.
        validated: Whether that checkpoint's validation is complete.
        tensorboard: Whether to write TensorBoard files if tensorboardX is installed.
        enabled: False on all processes but the first, which then write nothing.
    """
    if not enabled:
        return MultiWriter([])
    writers: list[MetricWriter] = [
        JsonLinesWriter(Path(workdir) / METRICS_FILE, resume_step=resume_step, validated=validated)
    ]
    if tensorboard and importlib.util.find_spec("tensorboardX") is None:
        logging.info("no TensorBoard files: install armoe-jax[tensorboard] to get them")
    elif tensorboard:
        writers.append(
            TensorBoardWriter(Path(workdir) / TENSORBOARD_FOLDER, resume_step=resume_step)
        )
    return MultiWriter(writers)


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Returns the lines of a metrics file; one cut off by a crash is left out."""
    lines = []
    for raw in Path(path).read_bytes().splitlines(keepends=True):
        line = _parse(raw)
        if line is not None:
            lines.append(line)
    return lines


def cut_after(path: str | Path, step: int, *, validated: bool = True) -> None:
    """Removes lines of later steps, and unreadable ones, from a metrics file if there is one.

    Args:
        path: The file.
        step: The last step to keep.
        validated: Whether to keep that step's validation, too.
    """
    path = Path(path)
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    parsed = [(raw, _parse(raw)) for raw in lines]

    def is_kept(line: Mapping[str, Any]) -> bool:
        is_validation = any(name.startswith(VALIDATION_PREFIX) for name in line)
        return line["step"] < step + (validated or not is_validation)

    kept = [raw for raw, line in parsed if line is not None and is_kept(line)]
    if len(kept) == len(lines):
        return
    write_atomically(path, b"".join(kept))


def _parse(raw: bytes) -> dict[str, Any] | None:
    if not raw.endswith(b"\n"):
        return None
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None


def _json_number(value: Any) -> float | int | None:
    if value is None:
        return None
    if isinstance(value, (int, np.integer)):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None
