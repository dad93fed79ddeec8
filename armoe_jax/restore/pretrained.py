"""From any kind of checkpoint to a ready `Restorer`."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armoe_jax.checkpoints.weights import architecture_fields, load_weights, refuse_unknown
from armoe_jax.restore.restorer import Restorer


def load_pretrained(path: str | Path, *, key: str = "auto", **options: Any) -> Restorer:
    """Loads a network and makes it ready to restore images.

    Args:
        path: A model folder, the workdir of a training run, a .pth, .pt or .safetensors file, or
            the name of weights that come with the package.
        key: Which weights, if there are several: "params" (raw), "params_ema" (their moving
            average), or "auto" for the moving average if present.
        **options: Fields of `ARMoEConfig` that the checkpoint cannot show (`img_range`,
            `qk_scale`, ...), and keyword arguments of `Restorer` (`tile`, `dtype`, ...).

    Raises:
        FileNotFoundError: There is no such file, folder or name.
        KeyError: The training run does not keep the weights that `key` asks for.
        TypeError: A keyword is neither an architecture field nor a restoration option.
        ValueError: The checkpoint is damaged or no ARMoE, or a keyword contradicts it.
    """
    architecture, restoration = _split_options(options)
    model = load_weights(path, key=key, **architecture)
    return Restorer(model.config, model.variables, **restoration)


def _split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    # `route` is both: an option of the restorer, and a field that files of ARMoE-W tell.
    restoration = _restoration_options()
    fields = [name for name in architecture_fields() if name not in restoration]
    refuse_unknown(options, fields + restoration)
    return (
        {name: value for name, value in options.items() if name in fields},
        {name: value for name, value in options.items() if name in restoration},
    )


def _restoration_options() -> list[str]:
    parameters = inspect.signature(Restorer).parameters.values()
    return [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
