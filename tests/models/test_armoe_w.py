"""ARMoE-W as a whole: sizes, what it is told, how it is run, and what it refuses."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from armoe_jax.benchmark.flops import useful_flops
from armoe_jax.models import VARIANTS, build_model
from armoe_jax.models.armoe_w import quality_of_steps

TINY = dataclasses.replace(
    networks.WINDOWED,
    share_mixings=True,
    adapt_experts=True,
    quality_range=(0.0, 8.0),
    interval_head=True,
    grid=8,
)
PLAIN = dataclasses.replace(
    TINY, adapt_experts=False, quality_range=(), interval_head=False, grid=0
)


@pytest.fixture(scope="module")
def variables(make_variables):
    return make_variables(TINY)


@pytest.fixture(scope="module")
def pictures():
    return jnp.asarray(np.random.default_rng(1).random((4, 9, 14, 3), np.float32))


@functools.cache
def compiled(config=TINY, train=False, **execution):
    model = build_model(config, **execution)
    return jax.jit(
        lambda variables, x, **told: model.apply(
            variables, x, train=train, return_routing=True, **told
        )
    )


def steps_of(*means):
    return jnp.stack([jnp.linspace(0.5, 1.5, 64) * mean for mean in means])


@pytest.mark.parametrize("size", [(1, 1), (3, 17)])
@pytest.mark.parametrize("stride", [1, 2])
def test_any_size_and_gray(make_variables, size, stride):
    config = dataclasses.replace(PLAIN, in_chans=1, depth=1, stride=stride)
    x = np.random.default_rng(0).random((2, *size, 1)).astype(np.float32)
    y, routing = compiled(config)(make_variables(config), x)
    assert y.shape == x.shape
    assert np.isfinite(y).all()
    side = config.alignment
    assert routing.expert.shape == (1, 2, (-(-size[0] // side)) * (-(-size[1] // side)))


def test_untrained_it_hardly_changes_an_image(pictures):
    model = build_model(TINY)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    y, _ = compiled()(variables, pictures)
    assert 1e-6 < float(jnp.abs(y - pictures).mean()) < 0.02


def test_images_do_not_mix_and_their_order_does_not_matter(variables, pictures):
    told = {"quality": jnp.array([1.0, 3, 5, 7]), "steps": steps_of(2, 9, 20, 90)}
    want, routing = compiled()(variables, pictures, **told)
    order = np.array([3, 1, 0, 2])
    got, moved = compiled()(variables, pictures[order], **{k: v[order] for k, v in told.items()})
    np.testing.assert_allclose(got, want[order], atol=1e-5)
    np.testing.assert_array_equal(moved.expert, routing.expert[:, order])


def test_the_quality_comes_from_the_steps_or_else_from_the_image(variables, pictures):
    """Estimates, here of 5 for all, stand in for unknown files and contradict far milder ones."""
    position = {"kernel": jnp.zeros((1, 1, 64, 1)), "bias": jnp.array([0.25])}
    position = jax.tree.map(
        lambda new, old: new.reshape(old.shape),
        position,
        variables["params"]["quality"]["position"],
    )
    params = dict(variables["params"])
    params["quality"] = params["quality"] | {"position": position}
    variables = {"params": params}
    steps = steps_of(2, 20, 20, 90).at[2].set(0)
    quality = jnp.asarray([5.0, np.log2(20), 5.0, np.log2(90)])
    want, _ = compiled()(variables, pictures, quality=quality, steps=steps.at[0].set(0))
    got, _ = compiled()(variables, pictures, steps=steps)
    np.testing.assert_allclose(got, want, atol=1e-5)
    other, _ = compiled()(variables, pictures, quality=quality - 3, steps=steps)
    assert np.abs(other - got).max() > 1e-3
    np.testing.assert_allclose(quality_of_steps(steps_of(16, 0.1)), [4, 0], atol=1e-6)


def test_offsets_of_the_grid_repeat(make_variables):
    """Where convolutions pass nothing but the offsets on, they are the correction."""
    config = dataclasses.replace(PLAIN, in_chans=1, depth=1, experts=(), grid=4)
    variables = jax.tree.map(jnp.zeros_like, make_variables(config))
    table = np.random.default_rng(0).normal(size=(1, 4, 4, config.embed_dim)).astype(np.float32)
    variables["params"]["grid"] = jnp.asarray(table)
    kernel = variables["params"]["conv_last"]["kernel"]
    variables["params"]["conv_last"]["kernel"] = kernel.at[1, 1, 0, 0].set(1.0)
    x = jnp.full((1, 6, 10, 1), 0.5)
    y, _ = compiled(config)(variables, x)
    offsets = np.tile(table[0, ..., 0], (2, 3))[:6, :10]
    np.testing.assert_allclose((y - x)[0, ..., 0], offsets * 0.1 / 4.0, atol=1e-6)


@pytest.mark.parametrize("execution", [{"scan": True}, {"remat": True, "scan": True}])
def test_the_way_of_running_changes_neither_results_nor_gradients(variables, pictures, execution):
    noise = jnp.zeros((2, 4, 2)).at[0, 1, 1].set(9.0)

    def loss(variables, execution):
        run = build_model(TINY, **dict(execution)).apply
        y = run(variables, pictures, train=True, gate_noise=noise, steps=steps_of(2, 9, 20, 90))
        return jnp.mean(y**2)

    gradients = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    want, want_grads = gradients(variables, ())
    got, grads = gradients(variables, tuple(execution.items()))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), grads, want_grads
    )


def test_half_precision_is_close(variables, pictures):
    forced = np.zeros((2, 4), np.int32)
    want, _ = compiled()(variables, pictures, expert=forced)
    got, _ = compiled(dtype="bfloat16")(variables, pictures, expert=forced)
    assert got.dtype == jnp.float32
    assert np.abs(got - want).mean() < 0.05 * np.abs(want - pictures).mean()


def test_experts_are_forced_everywhere_or_by_layer_and_image(variables, pictures):
    _, routing = compiled()(variables, pictures, expert=np.array([[0, 1, 1, 0], [1, 1, 0, 0]]))
    expert = np.asarray(routing.expert)
    np.testing.assert_array_equal(expert[..., 0], [[0, 1, 1, 0], [1, 1, 0, 0]])
    np.testing.assert_array_equal(expert, np.broadcast_to(expert[..., :1], expert.shape))
    run = functools.partial(build_model(TINY).apply, expert=1, return_routing=True)
    _, routing = jax.jit(run)(variables, pictures)
    assert set(np.unique(routing.expert)) == {1}
    # And by window: what was chosen, forced, changes nothing.
    want, routing = compiled()(variables, pictures)
    got, _ = compiled()(variables, pictures, expert=routing.expert)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_training_draws_noise_and_needs_its_stream(variables, pictures):
    model = build_model(TINY)
    shapes = jax.eval_shape(
        lambda key: model.apply(variables, pictures, train=True, rngs={"routing": key}),
        jax.random.key(0),
    )
    assert shapes.shape == pictures.shape
    with pytest.raises(Exception, match="routing"):
        jax.eval_shape(lambda: model.apply(variables, pictures, train=True))


def test_without_experts_nothing_is_chosen(make_variables, pictures):
    config = dataclasses.replace(PLAIN, experts=(), depth=1)
    _, routing = compiled(config)(make_variables(config), pictures)
    assert routing.expert.shape == (1, 4, 0)
    assert float(routing.load_balancing_loss) == 0


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        ("armoe_w_small", (100_000, 300_000), 150_000),
        ("armoe_w_base", (700_000, 2_000_000), 250_000),
    ],
)
def test_variants_keep_to_their_sizes(name, parameters, multiply_adds):
    """As small networks of the field that run on CPUs, and as what an accelerator trains fast."""
    config = VARIANTS[name]
    shapes = jax.eval_shape(build_model(config).init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    low, high = parameters
    assert low <= sum(x.size for x in jax.tree.leaves(shapes)) <= high
    assert useful_flops(config, 8, 8) / (2 * 8 * 8) <= multiply_adds


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        (TINY, {"x": jnp.zeros((1, 8, 8, 1))}, "images' channels=1"),
        (TINY, {"quality": jnp.zeros(2)}, r"quality's shape=\(2,\)"),
        (TINY, {"steps": jnp.zeros((1, 63))}, r"steps' shape=\(1, 63\)"),
        (PLAIN, {"quality": jnp.zeros(1)}, "None without a quality_range"),
        (PLAIN, {"steps": jnp.zeros((1, 64))}, "None without a quality_range"),
        (TINY, {"expert": 2}, r"expert=2 is not allowed; it must be below 2"),
        (TINY, {"expert": np.zeros((1, 1), np.int32)}, r"expert's shape=\(1, 1\)"),
    ],
)
def test_refuses_naming_the_argument(variables, config, arguments, message):
    with pytest.raises(ValueError, match=message):
        build_model(config).apply(variables, **{"x": jnp.zeros((1, 8, 8, 3))} | arguments)
