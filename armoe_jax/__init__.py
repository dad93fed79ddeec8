"""ARMoE in JAX: removal of compression artifacts with a frequency-domain mixture of experts.

Names are loaded on first use, so that `armoe_jax.psnr` alone does not start an accelerator.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from armoe_jax.metrics import bd_psnr, bd_rate, psnr, ssim
    from armoe_jax.models import ARMoE, ARMoEConfig, ARMoEW, ARMoEWConfig, build_model
    from armoe_jax.restore import Restorer
    from armoe_jax.restore.pretrained import load_pretrained

__version__ = "0.1.0"

__all__ = [
    "ARMoE",
    "ARMoEConfig",
    "ARMoEW",
    "ARMoEWConfig",
    "Restorer",
    "bd_psnr",
    "bd_rate",
    "build_model",
    "load_pretrained",
    "psnr",
    "ssim",
]

_HOME = {
    "ARMoE": "armoe_jax.models",
    "ARMoEConfig": "armoe_jax.models",
    "ARMoEW": "armoe_jax.models",
    "ARMoEWConfig": "armoe_jax.models",
    "build_model": "armoe_jax.models",
    "load_pretrained": "armoe_jax.restore.pretrained",
    "Restorer": "armoe_jax.restore",
    "psnr": "armoe_jax.metrics",
    "ssim": "armoe_jax.metrics",
    "bd_rate": "armoe_jax.metrics",
    "bd_psnr": "armoe_jax.metrics",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'armoe_jax' has no attribute {name!r}; it has {__all__}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
