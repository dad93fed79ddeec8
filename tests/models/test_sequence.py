"""Scanned, unrolled and recomputed networks are the same function."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from armoe_jax.models import build_model
from armoe_jax.models.stacking import stack_blocks, unstack_blocks

FORMS = {
    "scanned": {"scan": True},
    "unrolled": {"scan": False},
    "recomputed, stacked": {"scan": True, "remat": True},
    "unrolled, stacked": {"scan": False},
}
NETWORKS = {
    "windowed": dataclasses.replace(networks.WINDOWED, depth=3),
    # What runs blocks in a sequence is the same for both; this one compiles ten times as long.
    "released": dataclasses.replace(networks.RELEASED, depth=(2, 1), num_heads=(2, 2)),
}
TRIED = [("windowed", form) for form in FORMS if form != "scanned"]
TRIED += [("released", "unrolled"), ("released", "recomputed, stacked")]


@pytest.fixture(scope="module")
def results(make_variables):
    """Output, routing, statistics and gradients of a training step of every form, in float64.

    In float32 the forms differ by rounding, which a ReLU near zero can turn into a visible change
    of a gradient: only more digits tell rounding from errors.
    """

    @functools.cache
    def step_of(network, form):
        config = NETWORKS[network]
        variables = make_variables(config)
        with jax.enable_x64(True):
            wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), variables)
            if "stacked" not in form:
                return run(config, form, wide)
            return unstack_blocks(run(config, form, stack_blocks(wide, config)))

    return step_of


def run(config, form, variables):
    rng = np.random.default_rng(2)
    x, noise = jnp.asarray(rng.uniform(size=(4, 5, 6, 3))), jnp.asarray(rng.gumbel(size=(3, 4, 2)))
    model = build_model(config, dtype="float64", capacity_factor=0.5, **FORMS[form])

    def loss(params):
        (out, routing), updates = model.apply(
            variables | {"params": params},
            x,
            train=True,
            gate_noise=noise,
            return_routing=True,
            mutable=["batch_stats"],
        )
        total = (out**2).mean() + routing.load_balancing_loss
        return total, (out, routing, updates.get("batch_stats", {}))

    (_, aux), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    return jax.tree.map(np.asarray, (aux, gradients))


@pytest.mark.slow
@pytest.mark.parametrize(("network", "form"), TRIED)
def test_training_steps_agree_in_float64(results, network, form):
    (out, routing, statistics), gradients = results(network, "scanned")
    (other_out, other_routing, other_statistics), other_gradients = results(network, form)
    assert bool(statistics) == (network == "released")
    assert out.dtype == np.float64
    np.testing.assert_array_equal(routing.expert, other_routing.expert)
    np.testing.assert_array_equal(routing.dropped, other_routing.dropped)
    assert routing.dropped.sum() > 0
    assert len(np.unique(routing.expert)) > 1
    pairs = [(out, other_out), (routing.logits, other_routing.logits)]
    pairs += zip(jax.tree.leaves(statistics), jax.tree.leaves(other_statistics), strict=True)
    pairs += zip(jax.tree.leaves(gradients), jax.tree.leaves(other_gradients), strict=True)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradients))
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * max(largest, np.abs(a).max()))


@pytest.mark.slow
def test_every_parameter_with_an_effect_gets_a_gradient(results):
    gradients = results("released", "scanned")[1]
    without = {
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)
        if not np.any(leaf)
    }
    # With 32 channels the position bias is constant, and the softmax cancels it.
    assert all("pos_bias" in name for name in without), without
