"""Networks of several sets of weights: an image goes through that of its quality alone."""

import dataclasses

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from armoe_jax.models import build_model
from armoe_jax.models.specialists import specialist_of

CONFIG = dataclasses.replace(
    networks.WINDOWED,
    experts=(),
    share_mixings=True,
    quality_range=(0.0, 8.0),
    interval_head=True,
    specialists=(3.0, 6.0),
)
SINGLE = dataclasses.replace(CONFIG, specialists=())
QUALITY = jnp.array([1.0, 7.0, 3.0, 5.0])
CHOSEN = (0, 2, 0, 1)  # a bound belongs to what is below


@pytest.fixture(scope="module")
def variables(make_variables):
    return make_variables(CONFIG)


@pytest.fixture(scope="module")
def pictures():
    return jnp.asarray(np.random.default_rng(1).random((4, 16, 24, 3), np.float32))


@pytest.fixture(scope="module")
def restore():
    model = build_model(CONFIG)
    return jax.jit(lambda variables, x, **told: model.apply(variables, x, **told))


def alone(variables, number):
    """Returns the variables of one specialist as those of a network of its own."""
    params = variables["params"]
    return {"params": params[f"specialist_{number}"] | {"quality": params["quality"]}}


def test_qualities_choose_by_bounds():
    np.testing.assert_array_equal(specialist_of(QUALITY, CONFIG.specialists), CHOSEN)


def test_each_image_is_restored_by_its_specialist(variables, pictures, restore):
    steps = jnp.broadcast_to(2.0 ** QUALITY[:, None], (4, 64))
    got = restore(variables, pictures, quality=QUALITY, steps=steps)
    single = jax.jit(build_model(SINGLE).apply)
    for i, number in enumerate(CHOSEN):
        told = {"quality": QUALITY[i : i + 1], "steps": steps[i : i + 1]}
        want = single(alone(variables, number), pictures[i : i + 1], **told)
        np.testing.assert_allclose(got[i], want[0], atol=1e-6)
        one = restore(variables, pictures[i : i + 1], **told)
        np.testing.assert_allclose(one, want, atol=1e-6)
        assert np.abs(want - single(alone(variables, (number + 1) % 3), pictures[i : i + 1],
                                    **told)).max() > 1e-4  # fmt: skip


def test_images_coded_alike_are_a_batch_of_their_specialist(variables, pictures, restore):
    quality = jnp.array([3.5, 4.0, 5.0, 5.9])
    want = jax.jit(build_model(SINGLE).apply)(alone(variables, 1), pictures, quality=quality)
    np.testing.assert_allclose(
        restore(variables, pictures, quality=quality), want, rtol=0, atol=1e-6
    )


def test_what_is_not_told_is_estimated_once_for_all(variables, pictures, restore):
    position = jax.tree.map(jnp.zeros_like, variables["params"]["quality"]["position"])
    position["bias"] = position["bias"] + 1.0  # the strongest coding for all
    params = variables["params"] | {"quality": variables["params"]["quality"] | {
        "position": position}}  # fmt: skip
    got = restore({"params": params}, pictures)
    want = restore(variables, pictures, quality=jnp.full((4,), 8.0))
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_only_the_chosen_specialists_learn(variables, pictures):
    model = build_model(CONFIG)

    def loss(params, quality):
        return jnp.mean(model.apply({"params": params}, pictures, train=True, quality=quality) ** 2)

    gradients = jax.jit(jax.grad(loss))
    single = build_model(SINGLE)

    def alone_loss(params, quality):
        y = single.apply({"params": params}, pictures, train=True, quality=quality)
        return jnp.mean(y**2)

    together = gradients(variables["params"], jnp.full((4,), 4.0))
    for number in (0, 2):
        assert all(not leaf.any() for leaf in jax.tree.leaves(together[f"specialist_{number}"]))
    want = jax.grad(alone_loss)(alone(variables, 1)["params"], jnp.full((4,), 4.0))
    want.pop("quality")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7),
        together["specialist_1"],
        want,
    )
    mixed = gradients(variables["params"], QUALITY)
    for number in (0, 1, 2):
        assert mixed[f"specialist_{number}"]["conv_last"]["kernel"].any()


def test_the_record_of_choices_is_that_of_a_network_without_experts(variables, pictures):
    told = {"quality": QUALITY, "return_routing": True}
    _, several = build_model(CONFIG).apply(variables, pictures, **told)
    _, one = build_model(SINGLE).apply(alone(variables, 0), pictures, **told)
    for field in dataclasses.fields(one):
        want = getattr(one, field.name)
        np.testing.assert_array_equal(getattr(several, field.name), want, strict=True)
