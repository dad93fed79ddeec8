"""Model folders: a network's architecture, weights and where they come from.

    FOLDER/model.json    format version, config, provenance, counters, checksums (readable text)
    FOLDER/variables/    the variables, an Orbax checkpoint

A folder appears complete or not at all, and damage is noticed by the checksums before anything is
read (Orbax's files have none, and what it says about damaged ones fills a screen).
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util

from armoe_jax.convert import check_variables, rules_of, variable_shapes
from armoe_jax.models.build import AnyConfig, config_from_dict
from armoe_jax.runtime.errors import kind_and_line
from armoe_jax.runtime.files import refuse_existing, sha256_of, utf8_path, written_beside
from armoe_jax.runtime.json_files import read_json

DESCRIPTION_FILE = "model.json"
VARIABLES_FOLDER = "variables"
FORMAT = "armoe-jax model"
FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A network's architecture with its weights.

    Attributes:
        config: The architecture.
        variables: {"params": ..., "batch_stats": ...}, nested dicts of float32 NumPy arrays (no
            "batch_stats" without experts).
        provenance: JSON-able facts about where the weights come from, such as the file's name
            and SHA-256.
        num_batches_tracked: Steps that each BatchNorm has counted, by the path of the layer;
            released checkpoints have them, the network does not use them. Absent means 0.
    """

    config: AnyConfig
    variables: dict[str, Any]
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    num_batches_tracked: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def num_parameters(self) -> int:
        """Trained numbers, running statistics not counted."""
        return sum(np.size(leaf) for leaf in jax.tree.leaves(self.variables["params"]))


def save_model(
    path: str | Path,
    config: AnyConfig,
    variables: Mapping[str, Any],
    *,
    provenance: Mapping[str, Any],
    num_batches_tracked: Mapping[str, int] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a model folder, atomically.

    Args:
        path: Folder to make.
        config: The architecture.
        variables: Nested dicts of arrays, NumPy's or JAX's.
        provenance: JSON-able facts about where the weights come from.
        num_batches_tracked: See `LoadedModel`.
        overwrite: Whether a model folder that is there may be replaced.

    Raises:
        FileExistsError: There is something at `path` that may not be replaced; other things than
            model folders and empty folders never are.
        ValueError: The variables do not fit the architecture.
    """
    path = Path(path).absolute()
    _refuse_others(path, overwrite=overwrite)
    check_variables(rules_of(config), variables)
    arrays = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), dict(variables))
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": config.to_dict(),
        "provenance": dict(provenance),
        "num_batches_tracked": dict(num_batches_tracked or {}),
    }
    with written_beside(path, overwrite=overwrite) as new:
        new.mkdir()
        with utf8_path(new) as folder, ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(folder / VARIABLES_FOLDER, _without_empty(arrays))
        description["files_sha256"] = _digests(new / VARIABLES_FOLDER)
        text = json.dumps(description, indent=2) + "\n"
        (new / DESCRIPTION_FILE).write_text(text, encoding="utf-8")


def load_model(path: str | Path) -> LoadedModel:
    """Reads a model folder.

    Raises:
        FileNotFoundError: `path` is no model folder.
        ValueError: The folder is damaged, or written by a later version.
    """
    path = Path(path).absolute()
    if not is_model_folder(path):
        raise FileNotFoundError(f"{path} is no model folder: it has no {DESCRIPTION_FILE}")
    model, digests = _read_description(path / DESCRIPTION_FILE)
    _check_files(path / VARIABLES_FOLDER, digests)
    with utf8_path(path) as folder, ocp.StandardCheckpointer() as checkpointer:
        variables = checkpointer.restore(folder / VARIABLES_FOLDER)
    variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), variables)
    variables = _with_empty(model.config, variables)
    check_variables(rules_of(model.config), variables)
    return dataclasses.replace(model, variables=variables)


def is_model_folder(path: str | Path) -> bool:
    """Tells whether a folder was written by `save_model`."""
    return (Path(path) / DESCRIPTION_FILE).is_file()


def _refuse_others(path: Path, *, overwrite: bool) -> None:
    refuse_existing(path, overwrite=overwrite)
    if not path.exists() or is_model_folder(path):
        return
    if not path.is_dir() or any(path.iterdir()):
        raise FileExistsError(f"{path} is no model folder and is not replaced; remove it first")


def _read_description(path: Path) -> tuple[LoadedModel, dict[str, str]]:
    """Returns a model without variables yet, and their files' checksums."""
    try:
        values = read_json(path)
        if (values["format"], values["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise ValueError(
                f"it has format {values['format']!r}, version {values['format_version']!r}; "
                f"{FORMAT!r}, version {FORMAT_VERSION} is read"
            )
        parts = ("config", "provenance", "num_batches_tracked", "files_sha256")
        config, provenance, counters, digests = (dict(values[part]) for part in parts)
        if not all(type(count) is int and 0 <= count < 2**63 for count in counters.values()):
            raise ValueError(f"num_batches_tracked={counters} has what is no count")
        digests = {name: str(digest) for name, digest in digests.items()}
        model = LoadedModel(config_from_dict(config), {}, provenance, counters)
        return model, digests
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"cannot read {path}: {kind_and_line(error)}") from error


def _without_empty(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Takes out arrays without elements, which Orbax refuses (position biases of width 0)."""
    flat: dict[tuple[str, ...], Any] = traverse_util.flatten_dict(dict(variables))
    return traverse_util.unflatten_dict({p: array for p, array in flat.items() if array.size})


def _with_empty(config: AnyConfig, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Puts back the arrays without elements that the architecture has."""
    flat: dict[str, Any] = traverse_util.flatten_dict(dict(variables), sep="/")
    for path, shape in variable_shapes(rules_of(config)).items():
        if 0 in shape:
            flat[path] = np.zeros(shape, np.float32)
    return traverse_util.unflatten_dict(flat, sep="/")


def _digests(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file in a folder, by its path there."""
    digests: dict[str, str] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digests[file.relative_to(folder).as_posix()] = sha256_of(file)
    return digests


def _check_files(folder: Path, expected: Mapping[str, str]) -> None:
    found = _digests(folder)
    differing = sorted(p for p in expected.keys() | found if expected.get(p) != found.get(p))
    if differing:
        raise ValueError(
            f"cannot read {folder}: missing, added or changed since it was written: "
            f"{', '.join(differing)}; copy or convert the model again"
        )
