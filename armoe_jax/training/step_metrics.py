"""What a training step reports, accumulated on the device between two lines of the log."""

from collections.abc import Sequence
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from clu import metrics
from jaxtyping import Array, Bool, Float, Int

from armoe_jax.models.routing import count_choices


@flax.struct.dataclass
class AverageOfFinite(metrics.Metric):
    """Mean over the steps that were not skipped; a skipped step's NaN does not enter it."""

    total: Any
    count: Any

    @classmethod
    def from_model_output(cls, values: Any, **_: Any) -> "AverageOfFinite":
        """Takes a scalar."""
        finite = jnp.isfinite(values)
        return cls(total=jnp.where(finite, values, 0.0), count=finite.astype(jnp.int32))

    def merge(self, other: "AverageOfFinite") -> "AverageOfFinite":
        """Returns the mean over both."""
        return type(self)(total=self.total + other.total, count=self.count + other.count)

    def compute(self) -> Any:
        """Returns the mean, or NaN if every step was skipped."""
        return self.total / jnp.where(self.count > 0, self.count, jnp.nan)


@flax.struct.dataclass
class Sum(metrics.Metric):
    """Sum over steps."""

    total: Any

    @classmethod
    def from_model_output(cls, values: Any, **_: Any) -> "Sum":
        """Takes an array of any shape and keeps it."""
        return cls(total=jnp.asarray(values))

    def merge(self, other: "Sum") -> "Sum":
        """Returns the sum of both."""
        return type(self)(total=self.total + other.total)

    def compute(self) -> Any:
        """Returns the sum."""
        return self.total


@flax.struct.dataclass
class LastValue(metrics.Metric):
    """The newest value."""

    value: Any

    @classmethod
    def from_model_output(cls, values: Any, **_: Any) -> "LastValue":
        """Takes a scalar."""
        return cls(value=jnp.asarray(values))

    def merge(self, other: "LastValue") -> "LastValue":
        """Returns the newer one."""
        return other

    def compute(self) -> Any:
        """Returns the value."""
        return self.value


@flax.struct.dataclass
class TrainMetrics(metrics.Collection):
    """Losses, gradient norm, learning rate and routing of the steps since the last log line."""

    loss: AverageOfFinite.from_output("loss")  # type: ignore[valid-type]
    pixel_loss: AverageOfFinite.from_output("pixel_loss")  # type: ignore[valid-type]
    load_balancing_loss: AverageOfFinite.from_output("load_balancing_loss")  # type: ignore[valid-type]
    grad_norm: AverageOfFinite.from_output("grad_norm")  # type: ignore[valid-type]
    learning_rate: LastValue.from_output("learning_rate")  # type: ignore[valid-type]
    skipped: Sum.from_output("skipped")  # type: ignore[valid-type]
    dropped: Sum.from_output("dropped")  # type: ignore[valid-type]
    expert_counts: Sum.from_output("expert_counts")  # type: ignore[valid-type]


def count_experts(
    expert: Int[Array, "l b"], num_experts: int, *, counted: Bool[Array, ""]
) -> Int[Array, "l e"]:
    """Returns how many images each expert of each layer was chosen for (0 if not `counted`)."""
    return jnp.where(counted, count_choices(expert, num_experts), 0).astype(jnp.int32)


def usage_fractions(counts: Int[np.ndarray, "l e"]) -> Float[np.ndarray, "l e"]:
    """Returns each expert's share of a layer's images (zeros before the first)."""
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def to_scalars(values: dict[str, Any], experts: Sequence[str]) -> dict[str, float | int]:
    """Returns computed `TrainMetrics` as one flat dictionary of numbers for the log.

    Args:
        values: `TrainMetrics.compute()` on the host.
        experts: Expert names, in the order of the gate's logits.
    """
    names = ("loss", "pixel_loss", "load_balancing_loss", "grad_norm", "learning_rate")
    scalars = {name: float(values[name]) for name in names}
    scalars["skipped_steps"] = int(values["skipped"])
    scalars["dropped_images"] = int(np.sum(values["dropped"]))
    for layer, shares in enumerate(usage_fractions(np.asarray(values["expert_counts"]))):
        for name, share in zip(experts, shares, strict=True):
            scalars[f"expert_usage/layer{layer:02d}/{name}"] = float(share)
    return scalars
