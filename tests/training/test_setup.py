"""From a configuration to the parts of a run."""

import types

import jax
import pytest

import configs
from armoe_jax.models import build_model
from armoe_jax.training import setup


def test_the_training_set_is_listed_by_name_and_size(tiny_config, pairs_dir):
    parts = types.SimpleNamespace(
        config=tiny_config, model=types.SimpleNamespace(config=types.SimpleNamespace(scale=1))
    )
    listed = setup.list_training_set(parts)
    assert list(listed) == [f"image{i}" for i in range(4)]
    path = pairs_dir / "train/gt/image2.png"
    assert listed["image2"][0] == path.stat().st_size


@pytest.mark.parametrize(
    ("changes", "weight"),
    [
        ({}, 0.01),
        ({"model.dispatch": "dense"}, 0.0),
        ({"model.dispatch": "dense", "train.load_balancing_weight": 0.5}, 0.5),
        ({"train.load_balancing_weight": 0.0}, 0.0),
        ({"model.experts": ()}, 0.0),
    ],
)
def test_load_balancing_weight_follows_the_dispatch(changes, weight):
    config = configs.load("configs/base.py", changes)
    model = build_model(config.model.to_dict())
    assert setup.make_step_options(config, model).load_balancing_weight == weight


def test_plans_are_read_off_the_configuration(tiny_config):
    changes = {"train.num_steps": 9, "train.batch_size": 4, "log.every": 2, "eval.every": 5}
    changes |= {"train.max_skipped_in_a_row": 7, "checkpoint.every": 3, "checkpoint.keep": 2}
    tiny_config.update_from_flattened_dict(changes)
    model = build_model(tiny_config.model.to_dict())
    plan = setup.make_loop_plan(tiny_config, model)
    assert (plan.num_steps, plan.batch_size, plan.log_every, plan.eval_every) == (9, 4, 2, 5)
    assert (plan.max_skipped_in_a_row, plan.experts) == (7, model.config.experts)
    saves = setup.make_save_plan(tiny_config)
    assert (saves.every, saves.keep, saves.num_steps) == (3, 2, 9)


def test_without_evaluation_images_there_is_nothing_to_validate(tiny_config):
    model = build_model(tiny_config.model.to_dict())
    assert setup.make_validator(tiny_config, model) is not None
    tiny_config.data.eval_gt = tiny_config.data.eval_lq = ""
    assert setup.make_validator(tiny_config, model) is None


def test_parts_are_shapes_before_anything_is_computed(tiny_config):
    parts = setup.prepare(tiny_config)
    assert parts.mesh.size == 1
    assert parts.model.config.embed_dim == tiny_config.model.embed_dim
    leaves = jax.tree.leaves(parts.like)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)
    # Weights of the first convolution, and their moving averages.
    shape = (3, 3, 3, tiny_config.model.embed_dim)
    assert parts.like.params["conv_first"]["kernel"].shape == shape
    assert parts.like.ema["params"]["conv_first"]["kernel"].shape == shape


def test_a_batch_that_the_devices_cannot_share_is_refused(tiny_config):
    tiny_config.sharding.num_devices = 8
    tiny_config.train.batch_size = 12
    with pytest.raises(ValueError, match="batch_size"):
        setup.prepare(tiny_config)
