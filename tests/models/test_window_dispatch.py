"""Dispatch of windows: all ways agree where nothing is dropped, and no window travels."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.models import window_dispatch
from armoe_jax.models.window_dispatch import by_blocks, by_slots, weighted
from armoe_jax.training import sharding

PIXELS, IMAGES, WINDOWS, CHANNELS, EXPERTS = 4, 8, 11, 3, 3


TOLD = np.linspace(1, 2, IMAGES, dtype=np.float32)


def draw(seed=0):
    rng = np.random.default_rng(seed)
    kernels = rng.normal(size=(EXPERTS, CHANNELS, CHANNELS)).astype(np.float32)
    windows = rng.normal(size=(PIXELS, IMAGES, WINDOWS, CHANNELS)).astype(np.float32)
    index = rng.integers(0, EXPERTS, (IMAGES, WINDOWS)).astype(np.int32)
    return kernels, windows, index


def stand_ins(kernels):
    """Experts that multiply by a matrix, and by what they are told of the image."""
    return [jax.tree_util.Partial(_multiply, kernel) for kernel in kernels]


def _multiply(kernel, windows, told):
    y = windows @ kernel
    return y if told is None else y * told.reshape(1, -1, 1, 1)


def expected(kernels, windows, index, told=TOLD):
    return np.einsum("pbnc,bncd,b->pbnd", windows, kernels[index], told)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 4 windows, so that few windows need many."""
    monkeypatch.setattr(window_dispatch, "BLOCK", 4)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("used", [(0, 1, 2), (2,), (0,), (0, 2)])
def test_blocks_run_the_chosen_expert(used):
    kernels, windows, index = draw()
    index = np.asarray(used, np.int32)[index % len(used)]
    got = jax.jit(lambda k, w, i: by_blocks(stand_ins(k), w, jnp.asarray(TOLD), i))(
        kernels, windows, index
    )
    np.testing.assert_allclose(got, expected(kernels, windows, index), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_blocks_of_few_windows(count):
    kernels, windows, index = draw()
    windows, index = jnp.asarray(windows[:, :1, :count]), jnp.asarray(index[:1, :count])
    got = by_blocks(stand_ins(kernels), windows, None, index)
    want = expected(kernels, windows, index, np.ones(1))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_weights_that_choose_one_are_a_choice():
    kernels, windows, index = draw()
    weights = jnp.asarray(np.eye(EXPERTS, dtype=np.float32)[index])
    got = weighted(stand_ins(kernels), jnp.asarray(windows), jnp.asarray(TOLD), weights)
    np.testing.assert_allclose(got, expected(kernels, windows, index), rtol=1e-5, atol=1e-5)


def test_slots_serve_the_first_windows_of_each_image():
    kernels, windows, _ = draw()
    # Expert 0 is wanted by windows 0, 2, 4, 5; expert 1 by 1, 3, 6, 7, 8, 9, 10.
    index = np.broadcast_to(np.array([0, 1, 0, 1, 0, 0, 1, 1, 1, 1, 1], np.int32), (IMAGES, 11))
    told = jnp.asarray(TOLD)
    got, dropped = by_slots(stand_ins(kernels), jnp.asarray(windows), told, jnp.asarray(index), 3)
    late = np.zeros(11, bool)
    late[[5, 7, 8, 9, 10]] = True
    np.testing.assert_array_equal(dropped, np.broadcast_to(late, (IMAGES, 11)))
    want = np.where(late[:, None], 0, expected(kernels, windows, index))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_slots_for_all_drop_none():
    kernels, windows, index = draw()
    got, dropped = by_slots(
        stand_ins(kernels), jnp.asarray(windows), jnp.asarray(TOLD), jnp.asarray(index), WINDOWS
    )
    assert not dropped.any()
    np.testing.assert_allclose(got, expected(kernels, windows, index), rtol=1e-5, atol=1e-5)


def slots_with_gradients(kernels, windows, index, told):
    def loss(kernels, windows):
        out, dropped = by_slots(stand_ins(kernels), windows, told, index, 4)
        return jnp.mean(out**2), (out, dropped)

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(kernels, windows)


def blocks(kernels, windows, index, told):
    return by_blocks(stand_ins(kernels), windows, told, index)


@functools.cache
def compile_on(num_devices, function):
    mesh = sharding.make_mesh(num_devices)
    whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    images = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, *split.spec))
    kernels, windows, index = draw()
    arguments = [
        jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement)
        for x, placement in ((kernels, whole), (windows, images), (index, split), (TOLD, split))
    ]
    with jax.set_mesh(mesh):
        return jax.jit(function).lower(*arguments).compile()


@pytest.mark.parametrize("function", [slots_with_gradients, blocks])
def test_results_do_not_depend_on_the_devices(function):
    results = []
    for devices in (1, 8):
        program = compile_on(devices, function)
        placed = jax.device_put((*draw(), TOLD), program.input_shardings[0])
        results.append(jax.device_get(program(*placed)))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), *reversed(results)
    )


@pytest.mark.parametrize("function", [slots_with_gradients, blocks])
def test_no_window_travels(function):
    """What devices exchange is the sum of the loss and of the kernels' gradients."""
    text = compile_on(8, function).as_text()
    assert not re.findall(r" (?:all-gather|all-to-all|collective-permute)(?:-start)?\(", text)
    sums = re.findall(r" = (.*) all-reduce(?:-start)?\(", text)
    assert bool(sums) == (function is slots_with_gradients)
    largest = EXPERTS * CHANNELS**2
    for result in sums:
        for dimensions in re.findall(r"\[([\d,]*)\]", result):
            assert np.prod([int(n) for n in dimensions.split(",") if n]) <= largest, result
