"""Conversion between released checkpoints and this project's variables; no PyTorch needed.

Reading goes from a file to arrays by released name (`read_torch`, `read_safetensors`), from their
names and shapes to the architecture (`detect_config`), and along its table (`rules_of`) to
variables (`import_state_dict`). Writing goes the other way (`export_variables`, then
`write_torch` or `write_safetensors`).
"""

from armoe_jax.convert.architectures import (
    architecture_fields,
    detect_config,
    pth_obstacles,
    rules_of,
)
from armoe_jax.convert.rules import (
    Imported,
    check_variables,
    export_variables,
    import_state_dict,
    list_non_finite,
    variable_shapes,
)
from armoe_jax.convert.safetensors_io import read_safetensors, write_safetensors
from armoe_jax.convert.torch_weights import KEYS, StateDict, read_torch
from armoe_jax.convert.torch_writer import write_torch

__all__ = [
    "KEYS",
    "Imported",
    "StateDict",
    "architecture_fields",
    "check_variables",
    "detect_config",
    "export_variables",
    "import_state_dict",
    "list_non_finite",
    "pth_obstacles",
    "read_safetensors",
    "read_torch",
    "rules_of",
    "variable_shapes",
    "write_safetensors",
    "write_torch",
]
