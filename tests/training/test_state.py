import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import configs
from armoe_jax.training import optim, sharding
from armoe_jax.training import state as train_state
from armoe_jax.training.step import metrics_shapes


def make_state(*, ema=True):
    variables = {
        "params": {"w": jnp.arange(16.0).reshape(2, 8), "b": jnp.ones(3)},
        "batch_stats": {"mean": jnp.zeros(8)},
    }
    optimizer = optim.make_optimizer(configs.load("configs/base.py").optim.to_dict())
    return train_state.create(variables, optimizer, ema=ema, metrics=metrics_shapes(1, 2))


def test_a_new_state_averages_from_its_own_variables():
    state = make_state()
    assert int(state.step) == 0
    np.testing.assert_array_equal(state.best_variables["params"]["w"], state.params["w"])
    np.testing.assert_array_equal(state.best_variables["batch_stats"]["mean"], np.zeros(8))


def test_without_averages_the_best_variables_are_the_raw_ones():
    state = make_state(ema=False)
    assert state.ema == {}
    assert state.best_variables == state.variables


def test_variables_without_statistics_have_no_such_collection():
    assert train_state.as_variables({"w": 1}, {}) == {"params": {"w": 1}}


@pytest.mark.parametrize(
    # (1 + t) / (10 + t): 1/10, 2/11, 91/100; at t = 10,000 it would be 0.9991.
    ("step", "decay"),
    [(0, 0.1), (1, 2 / 11), (90, 0.91), (10_000, 0.999)],
)
def test_decay_grows_to_its_final_value(step, decay):
    assert float(train_state.ema_decay(jnp.int32(step), 0.999)) == pytest.approx(decay, rel=1e-6)


def test_average_moves_towards_the_new_value():
    # 0.75 * 8 + 0.25 * 4 = 7
    mixed = train_state.update_ema({"w": jnp.array(8.0)}, {"w": jnp.array(4.0)}, jnp.array(0.75))
    assert float(mixed["w"]) == 7.0


def test_fsdp_splits_parameters_averages_and_moments_but_no_counters():
    mesh = sharding.make_mesh()
    placement = train_state.shardings(make_state(), mesh, fsdp=True)
    split = PartitionSpec(None, "data")
    adam = placement.opt_state[1]
    for tree in (placement.params, placement.ema["params"], adam.mu, adam.nu):
        assert tree["w"].spec == split
        assert tree["b"].spec == PartitionSpec()
    assert placement.ema["batch_stats"]["mean"].spec == PartitionSpec("data")
    for leaf in jax.tree.leaves((placement.step, placement.metrics, placement.batch_stats)):
        assert leaf.spec == PartitionSpec()
