"""Reads configurations: the one way from a file's name to a `ConfigDict`."""

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

FOLDER = Path(__file__).parent
"""The installed configurations."""


def load(name: str | Path, overrides: Mapping[str, Any] | Sequence[str] = ()) -> Any:
    """Returns a configuration: a locked `ConfigDict`.

    Args:
        name: A Python file that defines `get_config()`, or FILE:ARGUMENT, where `get_config` is
            given the text ARGUMENT. A file that does not exist is looked up, by its last name,
            among the installed ones.
        overrides: Fields to change: values by name ({"train.num_steps": 3}), or texts as on the
            command line ("train.num_steps=3").

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file does not define a configuration, or an override names no field or has
            a value of another type.
    """
    path, argument = _split(str(name))
    path = _find(path)
    get_config = _get_config_of(path)
    try:
        config = get_config() if argument is None else get_config(argument)
    except Exception as error:  # a configuration is code, and may raise anything
        raise ValueError(f"{path}: get_config: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise ValueError(
            f"{path}: get_config() returns a {type(config).__name__}; it must be a ConfigDict, see "
            "configs/base.py"
        )
    config.lock()
    try:
        if isinstance(overrides, Mapping):
            config.update_from_flattened_dict(overrides)
        elif overrides:
            _parse_overrides(config, overrides)
    except (AttributeError, KeyError, TypeError, flags.Error) as error:
        raise ValueError(str(error.args[0] if error.args else error)) from error
    return config


def _split(name: str) -> tuple[Path, str | None]:
    match = re.fullmatch(r"(.*?\.py):(.*)", name)
    return (Path(match[1]), match[2]) if match else (Path(name), None)


def _find(path: Path) -> Path:
    if path.exists():
        return path
    installed = FOLDER / path.name
    if not installed.is_file():
        own = {"__init__.py", Path(__file__).name}
        names = sorted(f"configs/{p.name}" for p in FOLDER.glob("*.py") if p.name not in own)
        raise FileNotFoundError(f"--config={path}: no such file; installed are {', '.join(names)}")
    return installed


def _get_config_of(path: Path) -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location(f"configuration_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file; a configuration is one, see configs/base.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error
    if not hasattr(module, "get_config"):
        raise ValueError(f"{path} defines no get_config(); see configs/base.py")
    return module.get_config


def _parse_overrides(config: ConfigDict, texts: Sequence[str]) -> None:
    """Sets fields to values given as text, read as the type that each field has."""
    for text in texts:
        if "=" not in text:
            raise ValueError(f"{text!r} is not FIELD=VALUE, such as train.num_steps=1000")
    arguments = ["", *(f"--config.{text}" for text in texts)]
    values = flags.FlagValues()
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments)
    values(arguments)
