"""Networks that adapt to the coding quality, and how they do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.models import ARMoEConfig, build_model
from armoe_jax.models.quality import KNOTS, Modulation, knot_weights
from armoe_jax.models.quality_estimator import MeanEstimator

RANGE = (17.0, 42.0)
SMALL = ARMoEConfig(
    embed_dim=8, depth=(1,), num_heads=(2,), mlp_ratio=1.0, split_size=(2, 2), experts=("haar",)
)
ADAPTIVE = dataclasses.replace(SMALL, quality_range=RANGE)


def test_knots_are_five_qualities_apart_and_interpolated():
    weights = knot_weights(jnp.array([17.0, 22.0, 24.5, 41.0, 42.0, 3.0, 60.0]), RANGE)
    expected = np.zeros((7, KNOTS))
    expected[0, 0] = expected[1, 1] = expected[4, 5] = expected[5, 0] = expected[6, 5] = 1
    expected[2, 1] = expected[2, 2] = 0.5
    expected[3, 4], expected[3, 5] = 0.2, 0.8
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    # JPEG's qualities fall where QPs rise.
    falling = knot_weights(jnp.array([90.0, 74.0, 10.0, 100.0]), (90.0, 10.0))
    np.testing.assert_allclose(falling, np.eye(KNOTS)[[0, 1, 5, 0]], atol=1e-5)


def test_modulation_by_hand():
    table = np.zeros((KNOTS, 4), np.float32)
    table[1] = [1.0, 0.0, 10.0, 20.0]  # QP 22: scales 2 and 1, shifts 10 and 20
    x = jnp.ones((3, 1, 1, 2))
    got = Modulation(RANGE).apply({"params": {"table": table}}, x, jnp.array([22.0, 24.5, 32.0]))
    np.testing.assert_allclose(
        np.asarray(got).reshape(3, 2), [[12, 21], [6.5, 11], [1, 1]], rtol=1e-5
    )


def adapted(variables, seed=3):
    """Variables whose modulation does something."""
    params = dict(variables["params"])
    for name in ("modulation_first", "modulation_last"):
        shape = params[name]["table"].shape
        params[name] = {"table": 0.5 * jax.random.normal(jax.random.key(seed), shape)}
    return {**variables, "params": params}


def test_untrained_it_is_the_network_without(make_variables, images):
    variables = make_variables(ADAPTIVE)
    params = dict(variables["params"])
    for name in ("modulation_first", "modulation_last"):
        params[name] = jax.tree.map(jnp.zeros_like, params[name])
    got = build_model(ADAPTIVE).apply({**variables, "params": params}, images)
    for name in ("quality", "modulation_first", "modulation_last"):
        del params[name]
    want = build_model(SMALL).apply({**variables, "params": params}, images)
    np.testing.assert_array_equal(got, want)


def test_told_qualities_hold_for_their_image(make_variables, images):
    variables = adapted(make_variables(ADAPTIVE))
    run = jax.jit(lambda x, q: build_model(ADAPTIVE).apply(variables, x, quality=q))
    qualities = jnp.array([17.0, 30.0, 42.0])
    together = run(images, qualities)
    for i in range(3):
        alone = run(images[i : i + 1], qualities[i : i + 1])
        np.testing.assert_allclose(alone[0], together[i], atol=1e-5)
    other = run(images, qualities.at[0].set(42.0))
    assert np.abs(other[0] - together[0]).max() > 0.01
    np.testing.assert_array_equal(run(images, jnp.array([0.0, 30.0, 99.0])), together)


def test_without_being_told_it_estimates(make_variables, images):
    variables = adapted(make_variables(ADAPTIVE))
    model = build_model(ADAPTIVE)
    estimator = MeanEstimator(RANGE)
    estimates = estimator.apply({"params": variables["params"]["quality"]}, images)
    want = model.apply(variables, images, quality=jnp.asarray(estimates))
    np.testing.assert_allclose(model.apply(variables, images), want, atol=1e-6)


def test_round_trip_through_plain_values():
    assert ARMoEConfig.from_dict(ADAPTIVE.to_dict()) == ADAPTIVE
    assert ARMoEConfig.from_dict(SMALL.to_dict() | {"quality_range": [17, 42]}) == ADAPTIVE


def test_errors(make_variables, images):
    with pytest.raises(ValueError, match=r"quality_range=\(42.0, 42.0\) is not allowed"):
        dataclasses.replace(SMALL, quality_range=(42.0, 42.0))
    with pytest.raises(ValueError, match=r"empty, or two finite qualities: of the mildest and of"):
        dataclasses.replace(SMALL, quality_range=(42.0,))
    with pytest.raises(ValueError, match="quality_range is empty"):
        build_model(SMALL).apply(make_variables(SMALL), images, quality=jnp.ones(3))
    with pytest.raises(
        ValueError, match=r"quality has shape \(2,\), expected \(images,\) = \(3,\)"
    ):
        build_model(ADAPTIVE).apply(make_variables(ADAPTIVE), images, quality=jnp.ones(2))
