"""Adam and its learning rate schedules.

The learning rate is a function of the training step, not of the optimiser's own count: a skipped
(non-finite) step leaves the optimiser alone, while the schedule advances with the data.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from armoe_jax.training.ranges import require_range

Schedule = Callable[[Int[Array, ""] | int], Float[Array, ""]]


def multistep_table(
    base: float,
    *,
    milestones: Sequence[int],
    gamma: float,
    restarts: Sequence[int] = (),
    restart_weights: Sequence[float] = (),
) -> tuple[list[int], list[float]]:
    """Returns the steps at which the rate changes, and the rates before, between and after them.

    At each milestone the rate is multiplied by `gamma`; at each restart it is set to `base` times
    the restart's weight (a restart wins over a milestone at the same step). Milestones count from
    step 0, also after a restart.

    Args:
        base: Learning rate of step 0.
        milestones: Increasing steps.
        gamma: Factor at a milestone.
        restarts: Increasing steps.
        restart_weights: One factor of `base` per restart.

    Raises:
        ValueError: Steps are not increasing, or the two restart lists differ in length.
    """
    for name, steps in (("milestones", milestones), ("restarts", restarts)):
        if any(later <= earlier for earlier, later in zip((0, *steps), steps, strict=False)):
            raise ValueError(f"optim.{name} is {tuple(steps)}; steps must be positive and increase")
    if len(restarts) != len(restart_weights):
        raise ValueError(
            f"optim.restarts {tuple(restarts)} and optim.restart_weights {tuple(restart_weights)} "
            "must have equal length"
        )
    weight_at = dict(zip(restarts, restart_weights, strict=True))
    changes = sorted({*milestones, *restarts})
    rates = [base]
    for step in changes:
        rates.append(base * weight_at[step] if step in weight_at else rates[-1] * gamma)
    return changes, rates


def multistep(changes: Sequence[int], rates: Sequence[float]) -> Schedule:
    """Returns the schedule of a table made by `multistep_table`."""

    def schedule(step: Int[Array, ""] | int) -> Float[Array, ""]:
        if not changes:
            return jnp.asarray(rates[0], float)
        interval = jnp.searchsorted(jnp.asarray(changes), jnp.asarray(step), side="right")
        return jnp.asarray(rates, float)[interval]

    return schedule


def _cosine(base: float, num_steps: int, final_fraction: float) -> Schedule:
    decay = optax.cosine_decay_schedule(base, num_steps, alpha=final_fraction)
    return lambda step: jnp.asarray(decay(step), float)


def make_schedule(config: Mapping[str, Any], num_steps: int) -> Schedule:
    """Returns the learning rate as a function of the step (0 for the first).

    Args:
        config: The `optim` group: learning_rate, schedule ("multistep" | "cosine" | "constant"),
            milestones, gamma, restarts, restart_weights, final_fraction, warmup_steps.
        num_steps: Length of the training, where the cosine ends.

    Raises:
        ValueError: A field is out of range or the schedule unknown.

    Source:
        architecture.md section 13; restarts as in the multi-step schedule of BasicSR.
    """
    _check_rates(config)
    base, name = config["learning_rate"], config["schedule"]
    if name == "multistep":
        names = ("milestones", "gamma", "restarts", "restart_weights")
        schedule = multistep(*multistep_table(base, **{key: config[key] for key in names}))
    elif name == "cosine":
        schedule = _cosine(base, num_steps, config["final_fraction"])
    elif name == "constant":
        schedule = multistep([], [base])
    else:
        raise ValueError(f"optim.schedule is {name!r}; choose 'multistep', 'cosine' or 'constant'")
    return _with_warmup(schedule, config["warmup_steps"])


def _check_rates(config: Mapping[str, Any]) -> None:
    for name in ("learning_rate", "gamma"):
        require_range(f"optim.{name}", config[name], above=0)
    for weight in config["restart_weights"]:
        require_range("optim.restart_weights", weight, above=0)
    require_range("optim.final_fraction", config["final_fraction"], low=0, high=1)


def _with_warmup(schedule: Schedule, warmup_steps: int) -> Schedule:
    if warmup_steps < 0:
        raise ValueError(f"optim.warmup_steps is {warmup_steps}; it must be 0 (none) or more")
    if warmup_steps == 0:
        return schedule
    return lambda step: schedule(step) * jnp.minimum(1.0, (step + 1.0) / warmup_steps)


def make_optimizer(config: Mapping[str, Any]) -> optax.GradientTransformation:
    """Returns Adam without its learning rate, behind gradient clipping if configured.

    Args:
        config: The `optim` group: b1, b2, eps, clip_norm (largest global gradient norm; 0: off).

    Raises:
        ValueError: One of them is out of range.
    """
    clip_norm = config["clip_norm"]
    require_range("optim.clip_norm", clip_norm, low=0)
    for name in ("b1", "b2"):
        require_range(f"optim.{name}", config[name], low=0, below=1)
    # In float32 a smaller one is lost beside 0, and 0 makes 0 / 0 where a gradient vanishes.
    require_range("optim.eps", config["eps"], low=1e-30)
    # identity() keeps the state's structure the same, so that clipping can change on resuming.
    clip = optax.clip_by_global_norm(clip_norm) if clip_norm > 0 else optax.identity()
    return optax.chain(clip, optax.scale_by_adam(config["b1"], config["b2"], config["eps"]))
