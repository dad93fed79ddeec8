"""State dicts in .safetensors files; ours carry the whole architecture in their metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import safetensors
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from armoe_jax.convert.torch_records import quote
from armoe_jax.convert.torch_weights import strip_prefix
from armoe_jax.models.build import AnyConfig, config_from_dict
from armoe_jax.runtime.errors import one_line
from armoe_jax.runtime.files import written_beside
from armoe_jax.runtime.json_files import parse_json

METADATA_KEY = "armoe_jax"
FORMAT_VERSION = 1


class SafetensorsFile(NamedTuple):
    """A file's state dict and what its metadata say.

    Attributes:
        tensors: Arrays by released name.
        config: The architecture, None if the file was not written by `write_safetensors`.
        provenance: Where the weights come from, {} likewise.
    """

    tensors: dict[str, np.ndarray]
    config: AnyConfig | None
    provenance: dict[str, Any]


def read_safetensors(path: Path) -> SafetensorsFile:
    """Reads a .safetensors file, ours or one with a bare state dict in released names.

    Raises:
        ValueError: The file is damaged or its metadata are not understood.
    """
    try:
        with cast(Any, safetensors.safe_open(path, framework="numpy")) as file:
            names: list[str] = file.keys()
            tensors: dict[str, np.ndarray] = {name: file.get_tensor(name) for name in names}
            metadata: dict[str, str] = file.metadata() or {}
        config, provenance = _parse(metadata.get(METADATA_KEY))
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"cannot read {path}: {one_line(error)}") from error
    return SafetensorsFile(strip_prefix(tensors), config, provenance)


def write_safetensors(
    path: Path,
    tensors: Mapping[str, np.ndarray],
    config: AnyConfig,
    provenance: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Writes a state dict with its architecture and provenance, atomically.

    Raises:
        FileExistsError: The file exists and may not be replaced.
    """
    # One entry only: the library writes several in an order that changes from run to run.
    description = {
        "format_version": FORMAT_VERSION,
        "config": config.to_dict(),
        "provenance": dict(provenance),
    }
    metadata = {METADATA_KEY: json.dumps(description, sort_keys=True)}
    contiguous = {name: np.ascontiguousarray(t).reshape(t.shape) for name, t in tensors.items()}
    with written_beside(path, overwrite=overwrite) as new:
        new.touch()
        ordinary_mode = new.stat().st_mode
        save_file(contiguous, new, metadata)
        new.chmod(ordinary_mode)  # the library makes files that only their owner can read


def _parse(text: str | None) -> tuple[AnyConfig | None, dict[str, Any]]:
    if text is None:
        return None, {}
    description = parse_json(text)
    if not isinstance(description, dict):
        raise ValueError(f"its metadata are a {type(description).__name__}, not an object")
    description = cast(dict[str, Any], description)
    version = description.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"its metadata have format version {quote(version)}; this program reads "
            f"{FORMAT_VERSION}"
        )
    config, provenance = description.get("config"), description.get("provenance")
    if not isinstance(config, dict) or not isinstance(provenance, dict):
        raise ValueError("its metadata lack the object config or the object provenance")
    return (
        config_from_dict(cast(dict[str, Any], config)),
        cast(dict[str, Any], provenance),
    )
