"""Weights of every kind: read from any checkpoint, written as any."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armoe_jax import convert
from armoe_jax.checkpoints import shipped, workdir
from armoe_jax.checkpoints.folder import LoadedModel, is_model_folder, load_model, save_model
from armoe_jax.models.build import config_from_dict
from armoe_jax.runtime.files import sha256_of

TORCH_SUFFIXES = (".pth", ".pt")
SAFETENSORS_SUFFIX = ".safetensors"

_KINDS = (
    "a model folder or a training workdir, a .pth, .pt or .safetensors file, or the name of "
    "weights that come with the package"
)


def load_weights(path: str | Path, *, key: str = "auto", **architecture: Any) -> LoadedModel:
    """Loads a network's architecture and weights as NumPy arrays.

    Args:
        path: A model folder, the workdir of a training run, a .pth, .pt or .safetensors file, or
            the name of weights that come with the package.
        key: Which weights, if there are several: "params" (raw), "params_ema" (their moving
            average), or "auto" for the moving average if present.
        **architecture: Fields of `ARMoEConfig`; they take the place of what the checkpoint says.

    Raises:
        FileNotFoundError: There is no such file, folder or name.
        KeyError: The training run does not keep the weights that `key` asks for.
        TypeError: A keyword is no field of `ARMoEConfig`.
        ValueError: The checkpoint is damaged or no ARMoE, or a keyword contradicts it.
    """
    if key not in convert.KEYS:
        raise ValueError(f"key={key!r} is not allowed; choose one of {convert.KEYS}")
    refuse_unknown(architecture, architecture_fields())
    path = _locate(path)
    if path.is_dir():
        return _load_folder(path, key, architecture)
    if path.suffix.lower() in TORCH_SUFFIXES:
        return _load_torch(path, key, architecture)
    if path.suffix.lower() == SAFETENSORS_SUFFIX:
        return _load_safetensors(path, key, architecture)
    raise ValueError(f"{path} has the suffix {path.suffix!r}; a checkpoint is {_KINDS}")


def save_weights(path: str | Path, model: LoadedModel, *, overwrite: bool = False) -> None:
    """Writes a network as the kind of checkpoint that the suffix of `path` says.

    Args:
        path: A .pth or .pt file (released names and buffers, for PyTorch), a .safetensors file
            (released names, with the architecture in its metadata), or else a model folder.
        model: What to write.
        overwrite: Whether an existing checkpoint may be replaced.

    Raises:
        FileExistsError: `path` exists and may not be replaced.
        ValueError: The network has options that the released one lacks, and cannot be a .pth.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in TORCH_SUFFIXES:
        obstacles = convert.pth_obstacles(model.config)
        if obstacles:
            raise ValueError(
                f"cannot write {path}: the released network has no {', '.join(obstacles)}; write "
                "a .safetensors file or a model folder instead"
            )
        convert.write_torch(path, _state_dict(model, constants=True), overwrite=overwrite)
    elif suffix == SAFETENSORS_SUFFIX:
        tensors = _state_dict(model, constants=False)
        convert.write_safetensors(
            path, tensors, model.config, model.provenance, overwrite=overwrite
        )
    else:
        save_model(
            path,
            model.config,
            model.variables,
            provenance=model.provenance,
            num_batches_tracked=model.num_batches_tracked,
            overwrite=overwrite,
        )


def _locate(path: str | Path) -> Path:
    """Returns the file or folder that is meant, a path before a shipped name."""
    if Path(path).exists():
        return Path(path)
    if str(path) in shipped.shipped_names():
        return shipped.path_of(str(path))
    names = ", ".join(shipped.shipped_names()) or "none"
    raise FileNotFoundError(
        f"no checkpoint {str(path)!r}: there is no such path, and no such name among the weights "
        f"that come with the package ({names}). A checkpoint is {_KINDS}"
    )


def _load_folder(path: Path, key: str, architecture: Mapping[str, Any]) -> LoadedModel:
    if is_model_folder(path):
        _refuse_key(path, key)
        return _with_architecture(load_model(path), architecture, path)
    if workdir.is_workdir(path):
        config, variables = workdir.load_workdir(path, key)
        provenance = {"source": path.resolve().name, "format": "workdir", "key": key}
        return _with_architecture(LoadedModel(config, variables, provenance), architecture, path)
    raise ValueError(
        f"{path} is neither a model folder (no model.json) nor the workdir of a training run (no "
        f"checkpoints); a checkpoint is {_KINDS}"
    )


def _load_torch(path: Path, key: str, architecture: Mapping[str, Any]) -> LoadedModel:
    state = convert.read_torch(path, key)
    try:
        config = convert.detect_config(state.tensors, **architecture)
        imported = convert.import_state_dict(convert.rules_of(config), state.tensors)
    except ValueError as error:
        raise ValueError(f"cannot use {path}: {error}") from error
    provenance = _file_provenance(path) | {"format": "pth", "key": state.key}
    return LoadedModel(config, imported.variables, provenance, imported.counters)


def _load_safetensors(path: Path, key: str, architecture: Mapping[str, Any]) -> LoadedModel:
    _refuse_key(path, key)
    file = convert.read_safetensors(path)
    # What the metadata say is known too; keywords go before them.
    known = dict(file.config.to_dict()) if file.config else {}
    try:
        config = convert.detect_config(file.tensors, **{**known, **architecture})
        imported = convert.import_state_dict(convert.rules_of(config), file.tensors)
    except ValueError as error:
        raise ValueError(f"cannot use {path}: {error}") from error
    provenance = _file_provenance(path) | {"format": "safetensors"}
    if file.provenance:
        provenance["origin"] = file.provenance
    return LoadedModel(config, imported.variables, provenance, imported.counters)


def _with_architecture(
    model: LoadedModel, architecture: Mapping[str, Any], path: Path
) -> LoadedModel:
    """Replaces fields of a known architecture, if the variables still fit it."""
    if not architecture:
        return model
    config = config_from_dict({**model.config.to_dict(), **architecture})
    try:
        convert.check_variables(convert.rules_of(config), model.variables)
    except ValueError as error:
        raise ValueError(f"cannot use {path} with {dict(architecture)}: {error}") from error
    return dataclasses.replace(model, config=config)


def _state_dict(model: LoadedModel, *, constants: bool) -> dict[str, Any]:
    return convert.export_variables(
        convert.rules_of(model.config),
        model.variables,
        model.num_batches_tracked,
        constants=constants,
    )


def _file_provenance(path: Path) -> dict[str, Any]:
    return {"source": path.name, "sha256": sha256_of(path)}


def _refuse_key(path: Path, key: str) -> None:
    if key != "auto":
        raise ValueError(f"{path} holds one set of weights, so key={key!r} is not allowed; omit it")


def refuse_unknown(options: Mapping[str, Any], allowed: list[str]) -> None:
    """Raises TypeError if a keyword is none of the allowed ones."""
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise TypeError(f"unknown keywords {unknown}; allowed are {allowed}")


def architecture_fields() -> list[str]:
    """Returns the names of the fields of `ARMoEConfig`."""
    return convert.architecture_fields()
