"""Sparse dispatch on a mesh: its devices share the experts' work, and the results stay the same."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax import sharding
from armoe_jax.experts import ExpertInputs
from armoe_jax.models.dispatch import by_capacity
from armoe_jax.ops.transforms import heat_decay

BATCH, SIZE, WIDTH, NUM_EXPERTS = 16, 8, 64, 4
DECAY = heat_decay(jnp.ones(WIDTH), SIZE, SIZE)


def mix(kernels, images, index, slots):
    """Sparse dispatch to stand-ins for experts that multiply by a matrix."""
    experts = [lambda inputs, k=kernel: inputs.values @ k for kernel in kernels]
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


@pytest.mark.parametrize("num_devices", [2, 4, 8])
def test_devices_share_the_slots(num_devices):
    alone, shared = (compile_on(n, slots=8).cost_analysis()["flops"] for n in (1, num_devices))
    # Forward and gradient: two products of the 4 experts' 8 slots of 64 pixels with 64 x 64.
    products = 2 * 2 * NUM_EXPERTS * 8 * SIZE**2 * WIDTH**2
    assert alone > products
    assert shared < 1.25 * alone / num_devices


@pytest.mark.parametrize("slots", [3, 8])
def test_results_do_not_depend_on_the_devices(slots):
    """Nor need the devices divide the slots."""
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
