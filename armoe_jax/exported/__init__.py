"""Networks as files that run with JAX alone: no Flax, no model code."""

from armoe_jax.exported.runner import (
    ExportedModel,
    ExportedOutput,
    ExportInfo,
    load_export,
    write_export,
)

__all__ = ["ExportInfo", "ExportedModel", "ExportedOutput", "load_export", "write_export"]
