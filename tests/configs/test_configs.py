"""Every configuration: its fields, its network, its commands."""

import functools
import importlib

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

import configs
from armoe_jax.models import VARIANTS, build_model
from armoe_jax.training import setup

NAMES = sorted({path.stem for path in configs.FOLDER.glob("*.py")} - {"__init__", "loading"})
GROUPS = {
    "model",
    "data",
    "train",
    "optim",
    "eval",
    "checkpoint",
    "log",
    "profile",
    "sharding",
    "distributed",
}


def get_config(name) -> ConfigDict:
    return configs.load(f"configs/{name}.py")


@pytest.mark.parametrize("name", NAMES)
def test_config_has_all_groups_and_is_locked(name):
    config = get_config(name)
    assert set(config.keys()) == GROUPS
    with pytest.raises(AttributeError, match="num_stepz"):
        config.train.num_stepz = 3
    with pytest.raises(TypeError):
        config.train.num_steps = "many"


@pytest.mark.parametrize("run", ["jpeg", "vvc"])
def test_the_larger_network_is_not_trained_at_the_small_ones_size(run):
    model = configs.load(f"configs/car_base.py:{run}").model
    larger = VARIANTS["armoe_w_base"]
    assert (model.depth, model.pairs, model.experts) == (8, 1, ("dct", "haar"))
    assert (larger.embed_dim, larger.stride) == (model.embed_dim, model.stride)


@pytest.mark.parametrize(("run", "images"), [("jpeg", 32), ("vvc", 512)])
def test_only_patches_that_are_coded_for_training_share_images(run, images):
    config = configs.load(f"configs/car_base.py:{run}")
    assert config.train.batch_size // config.data.patches_per_image == images


def test_the_base_network_has_experts_and_therefore_no_specialists():
    with pytest.raises(ValueError, match="vvc_specialists: choose one of jpeg, "):
        configs.load("configs/car_base.py:vvc_specialists")


@pytest.mark.parametrize("name", NAMES)
def test_config_describes_its_command(name):
    docstring = importlib.import_module(f"configs.{name}").__doc__
    assert name == "base" or f"--config configs/{name}.py" in docstring


@pytest.mark.parametrize(
    ("run", "adapts"),
    [
        ("jpeg", False),
        ("jpeg_strong", False),
        ("vvc", False),
        ("vvc_even", False),
        ("vvc_longer", False),
        ("vvc_adaptive", True),
        ("vvc_finer", True),
        ("vvc_quality", True),
        ("vvc_finest", True),
        ("vvc_careful", True),
        ("vvc_robust", True),
        ("vvc_final", True),
    ],
)
def test_small_networks_are_one_network_in_every_run(run, adapts):
    """So that each run can start from another's weights, and ships under the same limits."""
    config = configs.load(f"configs/car_small.py:{run}")
    expected = get_config("car_small").model.to_dict()
    if adapts:
        expected["quality_range"] = (config.data.qps[0], config.data.qps[-1])
    assert config.model.to_dict() == expected
    assert config.data.codec == "vvc" if run.startswith("vvc") else config.data.source == "jpeg"
    assert config.is_locked


def test_small_networks_have_no_other_run():
    with pytest.raises(
        ValueError, match=r"car_small.py:webp: choose one of jpeg, jpeg_strong, vvc"
    ):
        configs.load("configs/car_small.py:webp")


@functools.cache
def variables_of(model):
    """Shapes of a network's variables; tracing CAR takes a while, and most configs train it."""
    image = jnp.zeros((1, 8, 8, model.config.in_chans))
    return jax.eval_shape(lambda: dict(model.init(jax.random.key(0), image)))


@pytest.mark.parametrize("name", NAMES)
def test_config_builds_a_network_and_a_state(name):
    config = get_config(name)
    model = build_model(config.model.to_dict())
    options = setup.make_step_options(config, model)
    setup.make_loop_plan(config, model)
    state = jax.eval_shape(
        lambda v: setup.initial_state(config, model, options, v), variables_of(model)
    )
    assert jax.tree.leaves(state.params)
    assert jax.tree.structure(state.ema["params"]) == jax.tree.structure(state.params)


@pytest.mark.parametrize(
    ("name", "parameters"), [("car_qp27", 25_607_479), ("light_sr_x2", 845_028)]
)
def test_published_configs_have_the_published_size(name, parameters):
    model = build_model(get_config(name).model.to_dict())
    leaves = jax.tree.leaves(variables_of(model)["params"])
    assert sum(leaf.size for leaf in leaves) == parameters


def test_defaults_are_the_published_training():
    config = configs.load("configs/base.py")
    assert build_model(config.model.to_dict()).config == VARIANTS["car"]
    assert (config.train.num_steps, config.train.batch_size, config.train.seed) == (500_000, 32, 10)
    assert (config.data.patch_size, config.train.loss) == (64, "l1")
    assert (config.optim.b1, config.optim.b2, config.optim.learning_rate) == (0.9, 0.99, 2e-4)
    assert config.optim.milestones == (250_000, 400_000, 450_000, 475_000)


@pytest.mark.parametrize("qp", [22, 27, 32, 37])
def test_car_configs_differ_in_qp_only(qp):
    config = get_config(f"car_qp{qp}")
    assert config.data.qp == qp
    assert config.data.codec == "vvc"
    config.data.qp = 27
    assert config == get_config("car_qp27")


def test_finetuning_halves_rate_and_schedule():
    config = configs.load("configs/car_finetune.py:32")
    assert config.data.qp == 32
    assert config.train.num_steps == 250_000
    assert config.optim.learning_rate == 1e-4
    assert config.optim.milestones == (125_000, 200_000, 225_000, 237_500)


def test_demo_starts_at_the_identity_with_a_loss_that_leaves_it():
    config = get_config("demo")
    assert config.data.source == "embedded"
    assert config.data.colors == "paper"
    assert config.model.global_skip
    assert config.train.loss in ("charbonnier", "l2")
    assert config.eval.brightness_baseline
