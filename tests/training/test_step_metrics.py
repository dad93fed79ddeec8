"""Figures of training steps, accumulated between two lines of the log."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.training.step_metrics import (
    AverageOfFinite,
    LastValue,
    Sum,
    TrainMetrics,
    count_experts,
    to_scalars,
    usage_fractions,
)


def merged(kind, *values):
    first, *others = (kind.from_model_output(jnp.asarray(value)) for value in values)
    for other in others:
        first = first.merge(other)
    return first.compute()


def test_skipped_steps_do_not_enter_the_mean():
    assert merged(AverageOfFinite, 1.0, math.nan, 4.0, math.inf) == 2.5
    assert math.isnan(merged(AverageOfFinite, math.nan, math.nan))


def test_sums_keep_their_shape_and_the_last_value_counts():
    np.testing.assert_array_equal(merged(Sum, [1, 2], [10, 20]), [11, 22])
    assert merged(LastValue, 3.0, 2.0) == 2.0


def test_choices_are_counted_by_layer():
    expert = jnp.array([[0, 2, 2], [1, 1, 1]])
    counts = count_experts(expert, 3, counted=jnp.bool_(True))
    np.testing.assert_array_equal(counts, [[1, 0, 2], [0, 3, 0]])
    assert counts.dtype == jnp.int32
    np.testing.assert_array_equal(count_experts(expert, 3, counted=jnp.bool_(False)), 0)


def test_shares_of_a_layer():
    np.testing.assert_array_equal(
        usage_fractions(np.array([[1, 3], [0, 0]])), [[0.25, 0.75], [0.0, 0.0]]
    )


def test_two_steps_become_one_line():
    def step(loss, skipped, counts):
        return TrainMetrics.single_from_model_output(
            loss=jnp.float32(loss),
            pixel_loss=jnp.float32(loss / 2),
            load_balancing_loss=jnp.float32(0.0),
            grad_norm=jnp.float32(loss),
            learning_rate=jnp.float32(1e-3 if skipped else 2e-3),
            skipped=jnp.int32(skipped),
            dropped=jnp.array([1, 2]),
            expert_counts=jnp.asarray(counts),
        )

    both = step(8.0, 0, [[3, 1], [0, 4]]).merge(step(math.nan, 1, [[0, 0], [0, 0]]))
    scalars = to_scalars(both.compute(), ("dct", "haar"))
    assert scalars == {
        "loss": 8.0,
        "pixel_loss": 4.0,
        "load_balancing_loss": 0.0,
        "grad_norm": 8.0,
        "learning_rate": pytest.approx(1e-3),
        "skipped_steps": 1,
        "dropped_images": 6,
        "expert_usage/layer00/dct": 0.75,
        "expert_usage/layer00/haar": 0.25,
        "expert_usage/layer01/dct": 0.0,
        "expert_usage/layer01/haar": 1.0,
    }
    assert all(type(value) in (int, float) for value in scalars.values())
