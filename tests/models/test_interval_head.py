"""The last layer that knows the quantiser, against blocks computed by hand and by SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.fft import dctn, idctn

from armoe_jax.models.interval_head import CLASSES, FEATURES, IntervalHead

HEAD = IntervalHead()
run = jax.jit(lambda params, *planes: HEAD.apply({"params": params}, *planes))


def weights(**features):
    """All frequencies and classes alike: a number for each named feature, 0 for the others."""
    names = ("distance", "half", "quarter", "sign")
    table = np.zeros((CLASSES, FEATURES, 64), np.float32)
    for name, value in features.items():
        table[:, names.index(name)] = value
    return {"weights": table, "slopes": np.zeros_like(table)}


def draw(seed=0, images=2):
    rng = np.random.default_rng(seed)
    luma = rng.normal(0, 40, (images, 8, 16)).astype(np.float32)
    correction = rng.normal(0, 8, luma.shape).astype(np.float32)
    steps = rng.integers(4, 40, (images, 64)).astype(np.float32)
    return luma, correction, steps


def block(plane, column):
    return dctn(plane[:, 8 * column : 8 * column + 8], norm="ortho")


def test_untrained_it_changes_nothing():
    planes = draw()
    params = HEAD.init(jax.random.key(0), *map(jnp.asarray, planes))["params"]
    np.testing.assert_allclose(run(params, *planes), planes[1], atol=1e-4)


def test_unknown_steps_give_the_correction_back():
    luma, correction, steps = draw()
    steps[1] = 0
    got = run(weights(half=1.0, sign=0.3), luma, correction, steps)
    np.testing.assert_array_equal(got[1], correction[1])
    assert np.abs(got[0] - correction[0]).max() > 1


def test_it_can_keep_to_the_interval():
    luma, correction, steps = draw()
    got = np.asarray(run(weights(half=1.0), luma, correction, steps))
    for image in range(2):
        half = steps[image].reshape(8, 8) / 2
        for column in range(2):
            want = np.clip(block(correction[image], column), -half, half)
            np.testing.assert_allclose(block(got[image], column), want, atol=1e-3)


def test_one_coefficient_by_hand():
    """Coefficient (0, 1) was quantised to 2 steps of 10; the network proposes 4 more."""
    luma, correction = np.zeros((2, 1, 8, 8), np.float32)
    spectrum = np.zeros((8, 8))
    spectrum[0, 1] = 20.0
    luma[0] = idctn(spectrum, norm="ortho")
    spectrum[0, 1] = 4.0
    correction[0] = idctn(spectrum, norm="ortho")
    table = weights()
    table["weights"][2, :, 1] = (0.5, 1.0, 1.0, -0.05)  # class 2: two steps or more
    got = run(table, luma, correction, np.full((1, 64), 10, np.float32))
    # In steps: 0.5 * 0.4 + 1 * 0.4 + 1 * 0.25 - 0.05 * sign(2) = 0.8, which is 8.
    spectrum[0, 1] = 8.0
    np.testing.assert_allclose(dctn(got[0], norm="ortho"), spectrum, atol=1e-4)


@pytest.mark.parametrize(("step", "factor"), [(16.0, 1.0), (32.0, 1.5), (8.0, 0.5)])
def test_weights_may_change_with_the_octave_of_the_step(step, factor):
    luma, correction, _ = draw(images=1)
    table = weights(distance=1.0)
    table["slopes"][:, 0] = 0.5  # a step of 16 is octave 0
    got = run(table, luma, correction, np.full((1, 64), step, np.float32))
    np.testing.assert_allclose(got, factor * correction, atol=1e-3)
