"""The arms of a comparison of experts: how the configuration of each follows from one of all."""

from typing import Any

import configs
from armoe_jax.checkpoints.weights import load_weights
from armoe_jax.experts import FRAMES

RELEASED = "configs/car_small.py:jpeg"
SHARED_TRAINING = (
    "seed", "batch_size", "accumulation_steps", "loss", "loss_colors", "ema_decay"
)  # fmt: skip
"""What the arm "released" takes from the compared configuration, besides data and warm-up."""


def arms(config: Any) -> list[str]:
    """Returns the names of what can be compared."""
    if config.model.mixture == "windowed":
        return ["plain", "none", *FRAMES, "dense", "image", "window", "more", "released"]
    return ["plain", "none", *config.model.experts, "all"]


def is_arm(name: str, config: Any) -> bool:
    """Returns whether this network can be compared under that name."""
    parts = name.split("+")
    together = config.model.mixture == "windowed" and set(parts) <= set(FRAMES)
    return name in arms(config) or (together and len(set(parts)) == len(parts))


def continue_from(config: Any, weights: str) -> None:
    """Has a configuration start from trained weights, and be of their architecture."""
    for name, value in load_weights(weights).config.to_dict().items():
        if name not in ("experts", "expert_dim", "share_mixings", "adapt_experts"):
            config.model[name] = tuple(value) if isinstance(value, list) else value
    config.train.init_from, config.train.init_partial = weights, True


def of_arm(name: str, config: Any) -> Any:
    """Returns the configuration of one arm."""
    config = config.copy_and_resolve_references()
    if name == "released":
        released = configs.load(RELEASED)
        released.data, released.sharding.num_devices = config.data, 1
        for field in SHARED_TRAINING:
            released.train[field] = config.train[field]
        released.optim.warmup_steps = config.optim.warmup_steps
        return released
    if name == "none":
        config.model.experts = ()
    elif name == "more":
        config.model.experts, config.model.depth = (), config.model.depth + 1
    elif set(name.split("+")) <= set(FRAMES):
        config.model.experts = tuple(name.split("+"))
    elif name in ("dense", "image", "window"):
        config.model.experts = tuple(FRAMES)
        config.model.route = "image" if name == "image" else "window"
        config.model.dispatch = "dense" if name == "dense" else "capacity"
    return config
