"""What training minimises, as a function of parameters and batch, and what it needs of a batch."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from armoe_jax.models import AnyConfig
from armoe_jax.models.armoe_w import quality_of_steps
from armoe_jax.models.quality_estimator import ESTIMATORS
from armoe_jax.training.losses import Loss
from armoe_jax.training.optim import Schedule
from armoe_jax.training.state import as_variables
from input_pipeline.codecs import CODEC_IDS

PyTree = Any
Batch = Mapping[str, Any]
Objective = Callable[..., tuple[Array, tuple[PyTree, dict[str, Any]]]]
"""(params, batch_stats, batch, two keys, gate noise) -> (loss, (new batch_stats, outputs))."""

SPARSE_LOAD_BALANCING_WEIGHT = 0.01

OBJECTIVES = ("restoration", "quality")
"""What is trained: the network, told the quality of its images; or its estimator of the quality."""


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """What a step needs besides state and data.

    Attributes:
        loss: Pixel loss.
        optimizer: Gradient transformation without learning rate.
        schedule: Learning rate of a step.
        seed: Seed of gate noise and dropout; the step's number is folded in.
        load_balancing_weight: Factor of the routing's auxiliary loss.
        ema_decay: Final decay of the moving averages.
        accumulation_steps: Micro-batches whose gradients are averaged into one update.
        objective: One of OBJECTIVES.
        quality_jitter: Standard deviation of what is added to the qualities that the network is
            told, so that it learns to do with estimates.
        overrated: Weight of an estimate that is too strong, in the objective "quality".
    """

    loss: Loss
    optimizer: optax.GradientTransformation
    schedule: Schedule
    seed: int
    load_balancing_weight: float = 0.0
    ema_decay: float = 0.999
    accumulation_steps: int = 1
    objective: str = "restoration"
    quality_jitter: float = 0.0
    overrated: float = 1.0


def step_batch(batch: Mapping[str, Any], config: AnyConfig) -> dict[str, Any]:
    """Returns what a step needs of a batch of the input pipeline.

    Raises:
        ValueError: The network adapts to qualities and those of the images are unknown.
    """
    images = {"lq": batch["lq"], "gt": batch["gt"]}
    if not config.quality_range:
        return images
    if np.min(batch["qp"]) < 0:
        raise ValueError(
            f"the network adapts to qualities {config.quality_range}, but those of the training "
            "images are unknown: take data.source 'built' or 'jpeg', or an empty "
            "config.model.quality_range"
        )
    if not config.interval_head:
        return images | {"quality": np.asarray(batch["qp"], np.float32)}
    if np.any(batch["codec"] != CODEC_IDS["jpeg"]):
        raise ValueError("a network with an interval head is for JPEGs: take data.source 'jpeg'")
    return images | {"quality": batch["log2_step"], "steps": batch["steps"]}


def batch_shapes(config: AnyConfig, size: int, height: int, width: int) -> dict[str, Any]:
    """Returns the shapes of `step_batch`, for a number of inputs of a size."""
    c, s = config.in_chans, config.scale
    shapes: dict[str, tuple[int, ...]] = {
        "lq": (size, height, width, c),
        "gt": (size, height * s, width * s, c),
    }
    if config.quality_range:
        shapes["quality"] = (size,)
    if config.interval_head:
        shapes["steps"] = (size, 64)
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def check_objective(objective: str, config: AnyConfig) -> None:
    """Refuses an objective that is unknown, or that the network cannot have.

    Raises:
        ValueError: So it is.
    """
    if objective not in OBJECTIVES:
        raise ValueError(
            f"train.objective is {objective!r}; choose one of {', '.join(map(repr, OBJECTIVES))}"
        )
    if objective == "quality" and not config.quality_range:
        raise ValueError(
            "train.objective is 'quality', but the network has no estimator of it; give it one "
            "with --config.model.quality_range, such as (17, 42)"
        )


def make_objective(model: Any, options: StepOptions) -> Objective:
    """Returns the configured one of OBJECTIVES."""
    if options.objective == "quality":
        return quality_objective(model.config, options.overrated)
    return restoration_objective(model, options)


def restoration_objective(model: Any, options: StepOptions) -> Objective:
    """Returns the pixel loss of the network's output plus the weighted loss of its routing."""

    def loss_fn(
        params: PyTree, batch_stats: PyTree, batch: Batch, keys: Any, noise: Any
    ) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
        coding = {}
        if model.config.quality_range:
            noise_key = jax.random.fold_in(keys[0], 1)
            deviations = jax.random.normal(noise_key, batch["quality"].shape)
            coding["quality"] = _told(batch) + options.quality_jitter * deviations
        if model.config.interval_head:
            coding["steps"] = batch["steps"]
        (output, routing), updates = model.apply(
            as_variables(params, batch_stats),
            jnp.asarray(batch["lq"], float),
            train=True,
            gate_noise=noise,
            return_routing=True,
            rngs={"routing": keys[0], "dropout": keys[1]},
            mutable=["batch_stats"],
            **coding,
        )
        pixel_loss = options.loss(output, jnp.asarray(batch["gt"], float))
        balance = jnp.mean(routing.load_balancing_loss)
        total = pixel_loss + options.load_balancing_weight * balance
        outputs = {
            "loss": total,
            "pixel_loss": pixel_loss,
            "load_balancing_loss": balance,
            "dropped": routing.dropped,
            "expert": routing.expert.reshape(routing.expert.shape[0], -1),
        }
        return total, (updates.get("batch_stats", {}), outputs)

    return loss_fn


def _told(batch: Batch) -> Float[Array, " b"]:
    """Returns the quality that a user's image would come with: its file's, where that is known.

    A JPEG saved twice has the label of its coarser coding, of which its file says nothing.
    """
    if "steps" not in batch:
        return batch["quality"]
    steps = jnp.asarray(batch["steps"])
    return jnp.where(steps[:, 0] > 0, quality_of_steps(steps), batch["quality"])


def quality_objective(config: AnyConfig, overrated: float = 1.0) -> Objective:
    """Returns the estimator's squared error, relative to half the range; it alone is trained.

    Args:
        config: Architecture with a quality_range.
        overrated: How often errors towards strong coding count.
    """
    mild, strong = config.quality_range
    estimator = ESTIMATORS[config.quality_estimator](config.quality_range)

    def loss_fn(
        params: PyTree, batch_stats: PyTree, batch: Batch, keys: Any, noise: Any
    ) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
        del keys, noise
        estimate = estimator.apply({"params": params["quality"]}, jnp.asarray(batch["lq"], float))
        error = (jnp.asarray(estimate) - batch["quality"]) / ((strong - mild) / 2)
        loss = jnp.mean(jnp.where(error > 0, overrated, 1.0) * error**2)
        outputs = {
            "loss": loss,
            "pixel_loss": jnp.zeros((), float),
            "load_balancing_loss": jnp.zeros((), float),
            "dropped": jnp.zeros((config.num_layers,), jnp.int32),
            "expert": jnp.zeros((config.num_layers, 0), jnp.int32),
        }
        return loss, (batch_stats, outputs)

    return loss_fn
