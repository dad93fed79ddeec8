import re

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import configs
from armoe_jax.models import build_model
from armoe_jax.training import sharding
from armoe_jax.training.setup import abstract_state, make_step_options
from armoe_jax.training.step import lower_train_step, make_train_step


def test_mesh_has_one_automatic_axis_over_all_devices():
    mesh = sharding.make_mesh()
    assert mesh.axis_names == ("data",)
    assert mesh.size == len(jax.devices()) == 8
    assert mesh.axis_types == (AxisType.Auto,)


def test_mesh_of_some_devices():
    assert sharding.make_mesh(2).size == 2


@pytest.mark.parametrize("count", [-1, 9])
def test_mesh_refuses_devices_that_do_not_exist(count):
    with pytest.raises(ValueError, match=f"sharding.num_devices is {count}, but there are 8"):
        sharding.make_mesh(count)


@pytest.mark.parametrize(
    ("shape", "devices", "spec"),
    [
        ((3, 16, 24), 8, PartitionSpec(None, None, "data")),  # 24 is the largest divisible
        ((16, 7), 8, PartitionSpec("data", None)),
        ((16, 16), 8, PartitionSpec("data", None)),  # the first of equals
        ((7, 9), 8, PartitionSpec()),
        ((), 8, PartitionSpec()),
        ((0, 8), 4, PartitionSpec(None, "data")),
        ((16,), 1, PartitionSpec()),
    ],
)
def test_fsdp_splits_the_largest_divisible_axis(shape, devices, spec):
    assert sharding.fsdp_spec(shape, devices) == spec


def test_summary_tells_the_share_that_is_split():
    mesh = sharding.make_mesh(4)
    tree = {"a": jax.ShapeDtypeStruct((8, 3), jnp.float32), "b": jax.ShapeDtypeStruct((3,), "f4")}
    placement = sharding.tree_shardings(tree, mesh, fsdp=True)
    summary = sharding.summarize(tree, placement)
    # a: 24 numbers = 96 bytes, 24 on each device; b: 12 bytes, whole on each device.
    assert summary == sharding.ShardingSummary(108, 96, 36)
    assert "88.9% of it split" in str(summary)
    whole = sharding.summarize(tree, sharding.tree_shardings(tree, mesh, fsdp=False))
    assert whole == sharding.ShardingSummary(108, 0, 108)


@pytest.mark.parametrize("fsdp", [False, True])
def test_placing_and_gathering_keep_every_bit(fsdp):
    mesh = sharding.make_mesh()
    rng = np.random.default_rng(0)
    tree = {"a": rng.normal(size=(8, 3)).astype(np.float32), "b": np.arange(5, dtype=np.int32)}
    placed = sharding.place(tree, sharding.tree_shardings(tree, mesh, fsdp=fsdp))
    assert placed["a"].sharding.is_fully_replicated != fsdp
    back = sharding.gather_on_host(placed, mesh)
    for name, value in tree.items():
        np.testing.assert_array_equal(back[name], value)


def test_batch_is_split_over_devices_in_order():
    mesh = sharding.make_mesh()
    batch = sharding.place_batch({"lq": np.arange(16).reshape(16, 1)}, mesh)["lq"]
    shards = sorted(batch.addressable_shards, key=lambda s: s.device.id)
    assert [s.data.ravel().tolist() for s in shards[:2]] == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("batch", "accumulation", "message"),
    [
        (12, 1, "batch_size 12 cannot be divided over 8 devices; use a multiple of 8"),
        (0, 1, "batch_size 0 cannot be divided"),
        (16, 4, "8 devices x 4 micro-batches; use a multiple of 32"),
        (16, 0, "accumulation_steps is 0"),
    ],
)
def test_batches_that_do_not_fit_are_refused(batch, accumulation, message):
    with pytest.raises(ValueError, match=message):
        sharding.check_batch(batch, mesh=sharding.make_mesh(), accumulation_steps=accumulation)


def test_a_single_image_is_refused_for_batch_statistics():
    with pytest.raises(ValueError, match="at least 2 images"):
        sharding.check_batch(1, mesh=sharding.make_mesh(1))
    sharding.check_batch(8, mesh=sharding.make_mesh(1), accumulation_steps=8, statistics=False)
    assert networks.RELEASED.has_batch_statistics
    assert not networks.WINDOWED.has_batch_statistics


def test_a_batch_that_fits_is_accepted():
    sharding.check_batch(32, mesh=sharding.make_mesh(), accumulation_steps=4)


@pytest.mark.slow
def test_with_fsdp_parameters_are_gathered_once_a_pass():
    """And not piece by piece: a step of two blocks once had thousands of exchanges."""
    config = configs.load("configs/base.py")
    small = {"embed_dim": 32, "depth": (2,), "num_heads": (2,), "split_size": (4, 4)}
    config.model.update(small | {"experts": ()})
    config.sharding.fsdp = True
    mesh, model = sharding.make_mesh(), build_model(config.model.to_dict())
    options = make_step_options(config, model)
    like = abstract_state(config, model, options, mesh)
    images = jax.ShapeDtypeStruct((8, 8, 8, 3), jnp.float32)
    batch = {"lq": images, "gt": images}
    step = lower_train_step(make_train_step(model, options), mesh, like, batch, fsdp=True)
    text = step.compile().as_text()
    arrays = len(jax.tree.leaves(like.params))
    assert not re.findall(r" collective-permute(?:-start)?\(", text)
    # From JAX 0.12 on, cotangents of a few layers outside of the blocks (norms, convolutions) are
    # moved to where their parameters' parts lie: 12 exchanges, once a step.
    assert len(re.findall(r" all-to-all(?:-start)?\(", text)) < arrays / 4
    gathered = re.findall(r" all-gather(?:-start)?\(", text)
    assert arrays / 2 < len(gathered) <= 2 * arrays  # forward, and recomputed
