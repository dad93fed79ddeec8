"""Dispatch on a mesh: devices share the experts' work, no image travels, and results stay equal."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.experts import EXPERTS, ExpertInputs
from armoe_jax.models.dispatch import by_capacity
from armoe_jax.models.moe import DISPATCHES, MixtureOfExperts
from armoe_jax.ops.transforms import heat_decay
from armoe_jax.training import sharding

BATCH, SIZE, WIDTH, NUM_EXPERTS = 16, 8, 64, 4
DECAY = heat_decay(jnp.ones(WIDTH), SIZE, SIZE)


def mix(kernels, images, index, slots):
    """Sparse dispatch to stand-ins for experts that multiply by a matrix."""
    experts = [jax.tree_util.Partial(lambda k, x: x.values @ k, kernel) for kernel in kernels]
    inputs = ExpertInputs(values=images, features=images, decay=DECAY)
    return by_capacity(experts, inputs, index, slots)


@functools.cache
def compile_on(num_devices, slots):
    """Compiles mixture, drops and the kernels' gradients, for a batch split over the devices."""
    mesh = sharding.make_mesh(num_devices)
    whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)

    def both(kernels, images, index):
        def loss(kernels):
            mixture, dropped = mix(kernels, images, index, slots)
            return jnp.mean(mixture**2), (mixture, dropped)

        return jax.value_and_grad(loss, has_aux=True)(kernels)

    arguments = [
        jax.ShapeDtypeStruct((NUM_EXPERTS, WIDTH, WIDTH), jnp.float32, sharding=whole),
        jax.ShapeDtypeStruct((BATCH, SIZE, SIZE, WIDTH), jnp.float32, sharding=split),
        jax.ShapeDtypeStruct((BATCH,), jnp.int32, sharding=split),
    ]
    with jax.set_mesh(mesh):
        return jax.jit(both).lower(*arguments).compile()


def draw():
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(NUM_EXPERTS, WIDTH, WIDTH)).astype(np.float32),
        rng.normal(size=(BATCH, SIZE, SIZE, WIDTH)).astype(np.float32),
        np.asarray([0, 1, 2, 3, 0, 0, 0, 0, 0, 2, 2, 1, 3, 3, 3, 3], np.int32),
    )


@functools.cache
def compile_layer_on(num_devices, dispatch):
    """Compiles the gradients of a whole mixture layer, real experts and gate included."""
    mesh = sharding.make_mesh(num_devices)
    moe = MixtureOfExperts(tuple(EXPERTS), dispatch=dispatch)
    images = jax.ShapeDtypeStruct((BATCH, SIZE, SIZE, WIDTH), jnp.float32)
    noise = jax.ShapeDtypeStruct((BATCH, len(EXPERTS)), jnp.float32)
    variables = jax.eval_shape(moe.init, jax.random.key(0), images)
    whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)

    def on(tree, placement):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement), tree
        )

    def loss(variables, images, noise):
        (mixture, record), statistics = moe.apply(
            variables, images, train=True, noise=noise, mutable=["batch_stats"]
        )
        return jnp.mean(mixture**2) + record.load_balancing_loss, statistics

    gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    with jax.set_mesh(mesh):
        lowered = gradients.lower(on(variables, whole), on(images, split), on(noise, split))
        return lowered.compile()


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_no_image_travels(dispatch):
    """What devices exchange: pooled features, the gate's gradients, and those of parameters."""
    text = compile_layer_on(8, dispatch).as_text()
    names = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    exchanged = re.findall(rf" = (.*) (?:{names})(?:-start)?\(", text)
    assert 2 <= len(exchanged) <= 6, exchanged
    image = (SIZE, SIZE, WIDTH)
    for results in exchanged:
        for dimensions in re.findall(r"\[([\d,]*)\]", results):
            shape = tuple(int(n) for n in dimensions.split(",") if n)
            assert shape[-3:] != image, results
            assert np.prod(shape) <= 4 * WIDTH**2, results  # the largest gradient: SWT's fusion


@pytest.mark.parametrize("num_devices", [2, 4, 8])
def test_devices_share_the_work(num_devices):
    """Dense dispatch has no loops, whose work XLA counts but once."""
    alone, shared = (
        compile_layer_on(n, "dense").cost_analysis()["flops"] for n in (1, num_devices)
    )
    # Forward and both gradients of the projection from 64 to 128 channels, for all images.
    products = 3 * 2 * BATCH * SIZE**2 * WIDTH * 2 * WIDTH
    assert alone > products
    assert shared < 1.25 * alone / num_devices


@pytest.mark.parametrize("slots", [3, 8])
def test_results_do_not_depend_on_the_devices(slots):
    kernels, images, index = draw()
    (_, (want, want_dropped)), want_grad = compile_on(1, slots)(kernels, images, index)
    mesh = sharding.make_mesh(8)
    (_, (got, dropped)), grad = compile_on(8, slots)(
        sharding.place(kernels, sharding.replicated(mesh)),
        *sharding.place_batch((images, index), mesh),
    )
    np.testing.assert_array_equal(dropped, want_dropped)
    # Expert 0 is wanted by 6 images, expert 3 by 5.
    assert int(dropped.sum()) == max(6 - slots, 0) + max(5 - slots, 0)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(grad, want_grad, rtol=1e-4, atol=1e-5)
