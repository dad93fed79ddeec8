"""Routing by hand: choices, weights, losses, batch norm, capacity, and moving images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armoe_jax.experts import ExpertInputs
from armoe_jax.models import routing
from armoe_jax.models.dispatch import by_branch, by_capacity, by_weight
from armoe_jax.ops.transforms import heat_decay

SCALES = (2.0, 3.0, 5.0)
"""Stand-ins for experts multiply their input."""

FUNCTIONS = [lambda inputs, s=s: inputs.values * s for s in SCALES]
BATCH, SLOTS = 6, 2


def inputs_of(values):
    x = jnp.asarray(values, jnp.float32).reshape(-1, 1, 1, 1)
    return ExpertInputs(values=x, features=x, decay=heat_decay(jnp.ones(1), 1, 1))


def choice_of(logits, noise=None, forced=None):
    return routing.choose(jnp.asarray(logits), noise, forced)


class TestChoice:
    LOGITS = ((1.0, 2.0), (3.0, 0.0))

    def test_largest_logit(self):
        choice = choice_of(self.LOGITS)
        np.testing.assert_array_equal(choice.expert, [1, 0])
        assert choice.expert.dtype == jnp.int32

    def test_noise_counts(self):
        choice = choice_of(self.LOGITS, noise=jnp.asarray([[2.0, 0.0], [0.0, 0.0]]))
        np.testing.assert_array_equal(choice.expert, [0, 0])
        np.testing.assert_array_equal(choice.logits, self.LOGITS)
        # softmax(3, 2) = e / (1 + e) = 0.731059.
        np.testing.assert_allclose(choice.probabilities[0, 0], 0.731059, rtol=1e-5)

    def test_forced_goes_before_logits(self):
        choice = choice_of(self.LOGITS, forced=jnp.asarray([0, 1], jnp.int32))
        np.testing.assert_array_equal(choice.expert, [0, 1])


def test_straight_through_has_the_softmax_gradient():
    logits = jnp.asarray([[0.0, np.log(3.0)]])  # probabilities 1/4, 3/4

    def mixture(logits):
        return (routing.straight_through(choice_of(logits)) * jnp.asarray([[1.0, 5.0]])).sum()

    value, gradient = jax.value_and_grad(mixture)(logits)
    # Value: the chosen expert's 5. Gradient of p0 + 5 p1: p0 (1 - 4) = -3/4, p1 (5 - 4) = 3/4,
    # with 4 = 1/4 * 1 + 3/4 * 5 the mean.
    np.testing.assert_allclose(value, 5.0, rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-0.75, 0.75]], rtol=1e-5)


def test_sparse_weight_is_one_with_the_gradient_of_the_chosen_probability():
    logits = jnp.asarray([[0.0, np.log(3.0)]])
    value, gradient = jax.value_and_grad(lambda x: routing.sparse_weight(choice_of(x))[0])(logits)
    # d p1 / d logits = (-p0 p1, p1 (1 - p1)) = (-3/16, 3/16).
    np.testing.assert_allclose(value, 1.0, rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-0.1875, 0.1875]], rtol=1e-5)


class TestLoadBalancingLoss:
    def test_uniform_is_one(self):
        # Each expert takes 1 of 4 images; probabilities are 1/4 on average: 4 * 4 * (1/4 * 1/4).
        choice = choice_of(10.0 * np.eye(4, dtype=np.float32))
        np.testing.assert_allclose(routing.load_balancing_loss(choice), 1.0, rtol=1e-5)

    def test_collapsed_is_the_number_of_experts(self):
        choice = choice_of(np.tile(np.float32([50, 0, 0, 0]), (8, 1)))
        np.testing.assert_allclose(routing.load_balancing_loss(choice), 4.0, rtol=1e-5)

    def test_noise_moves_shares_but_not_probabilities(self):
        logits = np.zeros((2, 2), np.float32)
        choice = choice_of(logits, noise=jnp.asarray([[9.0, 0.0], [9.0, 0.0]]))
        # f = (1, 0), P = (1/2, 1/2): 2 * 1/2 = 1.
        np.testing.assert_allclose(routing.load_balancing_loss(choice), 1.0, rtol=1e-6)


class TestGate:
    def test_batch_norm_stores_the_unbiased_variance(self):
        norm = routing.BatchNorm()
        x = jnp.asarray([[1.0], [3.0]])
        variables = norm.init(jax.random.key(0), x, train=True)
        out, updates = norm.apply(variables, x, train=True, mutable=["batch_stats"])
        # Mean 2; variance 1 biased, 2 unbiased. Out: -+1 / sqrt(1 + 1e-5) = -+0.999995.
        # Running: 0.9 * 0 + 0.1 * 2 = 0.2 and 0.9 * 1 + 0.1 * 2 = 1.1.
        np.testing.assert_allclose(out, [[-0.999995], [0.999995]], rtol=1e-6)
        np.testing.assert_allclose(updates["batch_stats"]["mean"], [0.2], rtol=1e-6)
        np.testing.assert_allclose(updates["batch_stats"]["var"], [1.1], rtol=1e-6)

    def test_initialising_leaves_the_statistics_neutral(self):
        variables = routing.BatchNorm().init(jax.random.key(0), jnp.ones((2, 3)), train=True)
        np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(3))
        np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(3))

    def test_one_image_cannot_be_trained_on(self):
        with pytest.raises(ValueError, match=r"batch of 1 in training.* needs 2 images"):
            routing.Gate(4).init(jax.random.key(0), jnp.ones((1, 8)), train=True)


@pytest.mark.parametrize(
    ("batch", "experts", "factor", "slots"),
    [
        (32, 4, 2.0, 16),  # 32 * 2 / 4
        (5, 4, 1.0, 2),  # ceil(5 / 4)
        (4, 4, 0.1, 1),  # ceil(0.1)
        (2, 4, 2.0, 1),
        (6, 3, 3.0, 6),
        (3, 4, 8.0, 3),  # min(3, 6)
    ],
)
def test_capacity(batch, experts, factor, slots):
    assert routing.capacity(batch, experts, factor) == slots


@pytest.fixture(scope="module")
def run():
    return jax.jit(lambda inputs, index: by_capacity(FUNCTIONS, inputs, index, SLOTS))


class TestByCapacity:
    def test_images_are_served_in_batch_order(self, run):
        index = jnp.asarray([0, 2, 0, 0, 2, 0], jnp.int32)
        out, dropped = run(inputs_of([1, 2, 3, 4, 5, 6]), index)
        # Two slots an expert: expert 0 serves images 0 and 2, then is full for 3 and 5.
        np.testing.assert_array_equal(out.ravel(), [2, 10, 6, 0, 25, 0])
        np.testing.assert_array_equal(dropped, [False, False, False, True, False, True])

    @settings(max_examples=50, deadline=None)
    @given(index=st.lists(st.integers(0, 2), min_size=BATCH, max_size=BATCH))
    def test_equals_serving_one_by_one(self, run, index):
        values = np.arange(1.0, BATCH + 1)
        free = [SLOTS] * len(SCALES)
        expected = np.zeros(BATCH)
        for image, expert in enumerate(index):
            if free[expert]:
                free[expert] -= 1
                expected[image] = values[image] * SCALES[expert]
        out, dropped = run(inputs_of(values), jnp.asarray(index, jnp.int32))
        np.testing.assert_array_equal(out.ravel(), expected)
        np.testing.assert_array_equal(dropped, expected == 0)

    def test_gradient_reaches_served_images_only(self, run):
        index = jnp.asarray([1, 1, 1, 0, 0, 2], jnp.int32)

        def total(values):
            return run(inputs_of(values), index)[0].sum()

        # Each image's gradient is its expert's factor; the third image of expert 1 is dropped,
        # and image 0, which fills empty slots, gets nothing more for it.
        np.testing.assert_array_equal(jax.grad(total)(jnp.ones(BATCH)), [3, 3, 0, 2, 2, 5])


@pytest.mark.parametrize("index", [[2], [0, 2, 1, 1]])
def test_by_branch_equals_one_hot_weights(index):
    inputs = inputs_of(np.arange(1.0, len(index) + 1))
    expert = jnp.asarray(index, jnp.int32)
    branched = by_branch(FUNCTIONS, inputs, expert)
    weighted = by_weight(FUNCTIONS, inputs, jax.nn.one_hot(expert, 3))
    np.testing.assert_array_equal(branched, weighted)
    np.testing.assert_array_equal(
        branched.ravel(), [SCALES[e] * (i + 1) for i, e in enumerate(index)]
    )
