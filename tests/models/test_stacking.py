import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from armoe_jax.models import VARIANTS
from armoe_jax.models.stacking import (
    num_stacked_axes,
    stack_blocks,
    stack_like,
    unstack_blocks,
)
from armoe_jax.training import sharding

EQUAL = dataclasses.replace(VARIANTS["car"], depth=(2, 2, 2), num_heads=(2, 2, 2))
UNEQUAL = dataclasses.replace(EQUAL, depth=(2, 1, 3))


def variables_of(config, leaf=lambda group, block: np.full((3, 8), 10.0 * group + block)):
    """Variables of one array per block, and one per group and network."""
    groups = {
        f"group_{g}": {f"block_{b}": {"w": leaf(g, b)} for b in range(depth)}
        | {"conv": leaf(g, 100)}
        for g, depth in enumerate(config.depth)
    }
    return {"params": groups | {"first": leaf(100, 0)}}


def assert_equal_trees(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_equal_groups_become_one_array_over_groups_and_blocks():
    params = stack_blocks(variables_of(EQUAL), EQUAL)["params"]
    assert set(params) == {"first", "groups"}
    stacked = params["groups"]["blocks"]["w"]
    assert stacked.shape == (3, 2, 3, 8)
    assert stacked[:, :, 0, 0].tolist() == [[0, 1], [10, 11], [20, 21]]
    assert params["groups"]["conv"].shape == (3, 3, 8)


def test_unequal_groups_are_stacked_by_themselves():
    params = stack_blocks(variables_of(UNEQUAL), UNEQUAL)["params"]
    assert params["group_0"]["blocks"]["w"].shape == (2, 3, 8)
    assert set(params["group_1"]) == {"block_0", "conv"}
    assert params["group_2"]["blocks"]["w"][:, 0, 0].tolist() == [20, 21, 22]


@pytest.mark.parametrize("config", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_unstacking_undoes_stacking(config, array):
    variables = jax.tree.map(array, variables_of(config))
    stacked = stack_blocks(variables, config)
    assert_equal_trees(unstack_blocks(stacked), variables)
    assert_equal_trees(unstack_blocks(variables), variables)
    assert_equal_trees(stack_like(variables, stacked), stacked)
    assert_equal_trees(stack_like(variables, variables), variables)


def test_an_optimiser_state_is_stacked_as_its_parameters():
    variables = variables_of(EQUAL)["params"]
    adam = optax.chain(optax.identity(), optax.scale_by_adam())
    plain = adam.init(variables)
    stacked = adam.init(stack_blocks({"params": variables}, EQUAL)["params"])
    assert_equal_trees(stack_like(plain, stacked), stacked)
    assert_equal_trees(unstack_blocks(stacked), plain)


def test_stacked_axes_are_counted_by_name():
    stacked = stack_blocks(variables_of(UNEQUAL), UNEQUAL)
    counts = jax.tree.map_with_path(lambda path, _: num_stacked_axes(path), stacked)["params"]
    assert counts["group_0"] == {"blocks": {"w": 1}, "conv": 0}
    counts = jax.tree.map_with_path(
        lambda path, _: num_stacked_axes(path), stack_blocks(variables_of(EQUAL), EQUAL)
    )["params"]
    assert counts == {"first": 0, "groups": {"blocks": {"w": 2}, "conv": 1}}


def test_arrays_on_a_mesh_stay_split_as_they_were():
    mesh = sharding.make_mesh()
    split = NamedSharding(mesh, PartitionSpec(None, "data"))
    leaf = jax.ShapeDtypeStruct((3, 8), jnp.float32, sharding=split)
    variables = variables_of(EQUAL, lambda *_: leaf)
    stacked = stack_blocks(variables, EQUAL)["params"]["groups"]["blocks"]["w"]
    assert stacked.sharding.spec == PartitionSpec(None, None, None, "data")
    assert unstack_blocks(stack_blocks(variables, EQUAL)) == variables

    arrays = jax.tree.map(lambda x: jax.device_put(x, split), variables_of(EQUAL))
    on_mesh = stack_blocks(arrays, EQUAL)
    assert on_mesh["params"]["groups"]["blocks"]["w"].sharding.spec == stacked.sharding.spec
    back = unstack_blocks(on_mesh)
    assert_equal_trees(back, arrays)
    for cut in jax.tree.leaves(back):
        assert cut.sharding.is_equivalent_to(split, 2)
