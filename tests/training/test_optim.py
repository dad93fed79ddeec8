import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import configs
from armoe_jax.training import optim


def config(**changes):
    values = configs.load("configs/base.py").optim.to_dict()
    return values | changes


def test_published_schedule_halves_four_times():
    schedule = optim.make_schedule(config(), num_steps=500_000)
    # 2e-4, then / 2 at 250k, 400k, 450k, 475k: 2e-4, 1e-4, 5e-5, 2.5e-5, 1.25e-5.
    expected = {
        0: 2e-4,
        249_999: 2e-4,
        250_000: 1e-4,
        399_999: 1e-4,
        400_000: 5e-5,
        450_000: 2.5e-5,
        475_000: 1.25e-5,
        499_999: 1.25e-5,
    }
    for step, rate in expected.items():
        assert float(schedule(step)) == pytest.approx(rate, rel=1e-6), step


def test_restart_returns_to_a_weighted_base_rate_and_milestones_go_on():
    schedule = optim.make_schedule(
        config(
            learning_rate=1.0,
            milestones=(10, 20, 40),
            restarts=(20, 30),
            restart_weights=(0.5, 0.25),
        ),
        num_steps=50,
    )
    # 1 | 10: 0.5 | 20: restart wins over the milestone, 0.5 | 30: 0.25 | 40: 0.125
    expected = {9: 1.0, 10: 0.5, 19: 0.5, 20: 0.5, 29: 0.5, 30: 0.25, 39: 0.25, 40: 0.125}
    assert {step: float(schedule(step)) for step in expected} == expected


def test_cosine_ends_at_its_final_fraction():
    schedule = optim.make_schedule(
        config(schedule="cosine", learning_rate=1.0, final_fraction=0.1), num_steps=100
    )
    assert float(schedule(0)) == pytest.approx(1.0)
    # Half way: 0.1 + 0.9 * (1 + cos(pi / 2)) / 2 = 0.55.
    assert float(schedule(50)) == pytest.approx(0.55, rel=1e-6)
    assert float(schedule(100)) == pytest.approx(0.1, rel=1e-6)


def test_warmup_is_linear():
    schedule = optim.make_schedule(
        config(schedule="constant", learning_rate=1.0, warmup_steps=4), num_steps=100
    )
    assert [float(schedule(jnp.int32(s))) for s in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 200), unique=True, max_size=6).map(sorted),
    st.lists(st.integers(1, 200), unique=True, max_size=3).map(sorted),
    st.integers(0, 250),
)
def test_multistep_equals_a_walk_over_all_steps(milestones, restarts, step):
    weights = [1.0 / (i + 2) for i in range(len(restarts))]
    table = optim.multistep_table(
        1.0, milestones=milestones, gamma=0.5, restarts=restarts, restart_weights=weights
    )
    rate = 1.0
    for s in range(1, step + 1):
        if s in restarts:
            rate = weights[restarts.index(s)]
        elif s in milestones:
            rate *= 0.5
    assert float(optim.multistep(*table)(step)) == np.float32(rate)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"milestones": (5, 5)}, r"optim.milestones is \(5, 5\)"),
        ({"milestones": (0,)}, "must be positive and increase"),
        ({"restarts": (3,)}, "must have equal length"),
        ({"schedule": "linear"}, "choose 'multistep'"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be a finite number, above 0"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"gamma": math.nan}, "gamma is nan"),
        ({"gamma": -0.5}, "gamma is -0.5"),
        ({"restarts": (3,), "restart_weights": (-1.0,)}, "restart_weights is -1.0"),
        ({"final_fraction": 1.5}, "final_fraction is 1.5; .* at least 0 and at most 1"),
        ({"warmup_steps": -1}, "optim.warmup_steps is -1"),
    ],
)
def test_schedule_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        optim.make_schedule(config(**changes), num_steps=10)


def test_first_adam_update_is_the_gradients_sign():
    optimizer = optim.make_optimizer(config())
    params = {"w": jnp.array([1.0, 2.0, 3.0])}
    grads = {"w": jnp.array([0.5, -4.0, 0.0])}
    updates, state = optimizer.update(grads, optimizer.init(params), params)
    # m / (1 - b1) = g and sqrt(v / (1 - b2)) = |g|, so the update is g / (|g| + eps).
    np.testing.assert_allclose(updates["w"], [1.0, -1.0, 0.0], atol=1e-6)
    # Second moment (1 - 0.99) * g^2: 0.01 * [0.25, 16, 0].
    np.testing.assert_allclose(state[1].nu["w"], [0.0025, 0.16, 0.0], rtol=1e-5)


def test_clipping_bounds_the_norm_before_adam_sees_it():
    optimizer = optim.make_optimizer(config(clip_norm=1.0))
    params = {"w": jnp.zeros(2)}
    grads = {"w": jnp.array([3.0, 4.0])}  # norm 5
    _, state = optimizer.update(grads, optimizer.init(params), params)
    # First moment (1 - 0.9) * g / 5.
    np.testing.assert_allclose(state[1].mu["w"], [0.06, 0.08], rtol=1e-5)


def test_clipping_does_not_change_the_states_structure():
    params = {"w": jnp.zeros(2)}
    plain = optim.make_optimizer(config()).init(params)
    clipped = optim.make_optimizer(config(clip_norm=1.0)).init(params)
    assert optax.tree_utils.tree_get(plain, "count") == 0
    assert [type(s) for s in plain] == [type(s) for s in clipped]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clip_norm", -1.0),
        ("clip_norm", math.nan),
        ("b1", 1.5),
        ("b1", -0.1),
        ("b2", 1.0),
        ("eps", 0.0),
        ("eps", -1e-8),
        ("eps", math.inf),
    ],
)
def test_adam_refuses(field, value):
    with pytest.raises(ValueError, match=rf"optim.{field} is {value}; it must be"):
        optim.make_optimizer(config(**{field: value}))
