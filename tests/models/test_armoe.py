"""The whole network's options: tails, skips, dropout, precision, subsets, sharding."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from armoe_jax.models import ARMoEConfig, build_model
from armoe_jax.ops.resize import imresize


@pytest.fixture(scope="module")
def infer(tiny):
    """The tiny network's outputs; compiled once."""
    config, variables = tiny
    model = build_model(config)
    return jax.jit(lambda x: model.apply(variables, x, return_routing=True))


def test_results_depend_on_the_image_alone(infer, images):
    out, routing = infer(images)
    changed, _ = infer(images.at[0].set(0.5))
    assert out.shape == images.shape
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(changed[1:], out[1:], rtol=0, atol=1e-5)
    assert np.abs(changed[0] - out[0]).max() > 0.01
    assert routing.expert.shape == (3, 3)
    assert routing.logits.shape == (3, 3, 4)
    assert routing.dropped.shape == (3,)
    assert 0 < routing.load_balancing_loss < 4 + 1e-6


def test_bfloat16_is_near_float32(tiny, images, infer):
    config, variables = tiny
    model = build_model(config, dtype="bfloat16")
    exact, routing = infer(images)
    run = jax.jit(lambda x, expert: model.apply(variables, x, expert=expert))
    narrow = np.asarray(run(images, routing.expert))
    assert narrow.dtype == np.float32
    error = np.sqrt(np.mean((narrow - exact) ** 2)) / np.std(exact)
    # Operands have 8 bits: 0.4 % each, which a few dozen layers add up to some percent.
    assert 1e-4 < error < 0.1


# One expert and windows of four pixels: many variants of it are compiled.
SMALL = ARMoEConfig(
    embed_dim=8, depth=(1,), num_heads=(2,), mlp_ratio=1.0, split_size=(2, 2), experts=("haar",)
)


@pytest.mark.parametrize(("upsampler", "scale"), [("icar", 1), ("lightSR", 2), ("lightSR", 3)])
def test_global_skip_starts_as_the_identity(upsampler, scale, images):
    config = dataclasses.replace(SMALL, upsampler=upsampler, upscale=scale, global_skip=True)
    model = build_model(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    variables = jax.tree.map(lambda a: jnp.full(a.shape, 0.1), shapes)
    last = "conv_last" if upsampler == "icar" else "upsample"
    variables["params"][last] = jax.tree.map(jnp.zeros_like, variables["params"][last])
    out = jax.jit(model.apply)(variables, images)
    expected = [imresize(np.asarray(x), float(scale)) if scale > 1 else x for x in images]
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_new_network_with_global_skip_is_the_identity(images):
    model = build_model(dataclasses.replace(SMALL, global_skip=True))
    out, variables = jax.jit(model.init_with_output)(jax.random.key(0), images)
    np.testing.assert_allclose(out, images, rtol=0, atol=1e-6)
    assert np.any(variables["params"]["conv_before"]["kernel"])


def test_without_tail_the_input_comes_back(images):
    model = build_model(dataclasses.replace(SMALL, upsampler=""))
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    assert not {"conv_before", "conv_last", "upsample"} & set(shapes["params"])
    assert "conv_first" in shapes["params"]
    variables = jax.tree.map(lambda a: jnp.ones(a.shape), shapes)
    out = jax.jit(model.apply)(variables, images)
    np.testing.assert_allclose(out, images, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"in_chans": 1, "resi_connection": "3conv", "split_size": (6, 4)},
        {"experts": (), "qkv_bias": False, "upsampler": "lightSR", "upscale": 3},
    ],
    ids=["gray-3conv", "no-experts-x3"],
)
def test_options_run(changes, make_variables):
    config = dataclasses.replace(SMALL, **changes)
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 5, 4, config.in_chans)), jnp.float32)
    model = build_model(config)
    run = jax.jit(lambda x: model.apply(make_variables(config), x, return_routing=True))
    out, routing = run(x)
    assert out.shape == (2, 5 * config.scale, 4 * config.scale, config.in_chans)
    assert np.isfinite(out).all()
    assert np.std(out) > 0.01
    assert routing.logits.shape == (1, 2, len(config.experts))


def test_img_range_scales_what_the_network_sees(make_variables, images):
    # Range 2 on halved weights of the first convolution is the same network but for the output,
    # y / img_range: half as far from the mean.
    variables = make_variables(SMALL)
    model, doubled = build_model(SMALL), build_model(dataclasses.replace(SMALL, img_range=2.0))
    params = variables["params"]
    first = {"kernel": params["conv_first"]["kernel"] / 2, "bias": params["conv_first"]["bias"]}
    halved = variables | {"params": params | {"conv_first": first}}
    mean = np.float32([0.4488, 0.4371, 0.4040]).reshape(1, 1, 1, 3)
    y = np.asarray(jax.jit(model.apply)(variables, images)) - mean
    other = np.asarray(jax.jit(doubled.apply)(halved, images)) - mean
    np.testing.assert_allclose(2 * other, y, rtol=0, atol=1e-5 * np.abs(y).max())


@pytest.fixture(scope="module")
def with_dropout(make_variables, images):
    """A training step that takes a key, and inference, of a network with dropout."""
    config = dataclasses.replace(SMALL, depth=(2,), drop_rate=0.3, attn_drop_rate=0.3, experts=())
    variables = make_variables(config)
    model = build_model(config)

    @jax.jit
    def train(key):
        return model.apply(variables, images, train=True, rngs={"dropout": key})

    return train, jax.jit(lambda: model.apply(variables, images))


class TestDropout:
    def test_follows_its_key(self, with_dropout):
        train, _ = with_dropout
        first, again, other = (np.asarray(train(jax.random.key(k))) for k in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).max() > 0.01

    def test_is_off_at_inference(self, with_dropout):
        # Needs no key, and lies in the middle of what training draws.
        train, infer = with_dropout
        assert np.isfinite(infer()).all()
        assert np.abs(np.asarray(infer()) - train(jax.random.key(0))).max() > 0.01


def test_gate_noise_comes_from_its_stream(make_variables, images):
    config = dataclasses.replace(SMALL, experts=("haar", "dct", "fft"))
    variables, model = make_variables(config), build_model(config)

    @jax.jit
    def draw(key):
        (_, routing), _ = model.apply(
            variables,
            jnp.concatenate([images] * 4),
            train=True,
            return_routing=True,
            rngs={"routing": key},
            mutable=["batch_stats"],
        )
        return routing.expert

    first, again, other = (np.asarray(draw(jax.random.key(k))) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.fixture(scope="module")
def batch():
    """Eight images, and how to lay arrays over eight devices: split, or whole on each."""
    assert len(jax.devices()) == 8
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x = np.random.default_rng(0).uniform(size=(8, 4, 6, 3)).astype(np.float32)
    whole = NamedSharding(mesh, PartitionSpec())
    return jnp.asarray(x), NamedSharding(mesh, PartitionSpec("data")), whole


class TestSharding:
    """A batch spread over eight devices gives what one device gives."""

    CONFIG = dataclasses.replace(SMALL, experts=("haar", "dct"))

    def test_inference(self, batch, make_variables):
        x, split, whole = batch
        variables, model = make_variables(self.CONFIG), build_model(self.CONFIG)
        run = jax.jit(model.apply)
        expected = run(variables, x)
        actual = run(jax.device_put(variables, whole), jax.device_put(x, split))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)

    def test_training_uses_the_global_batch(self, batch, make_variables):
        x, split, whole = batch
        variables = make_variables(self.CONFIG)
        model = build_model(self.CONFIG, capacity_factor=1.0)
        noise = np.zeros((1, 8, 2), np.float32)
        noise[..., 0] = [9, 9, 9, 9, 9, 9, -9, -9]

        @jax.jit
        def run(variables, x):
            return model.apply(
                variables,
                x,
                train=True,
                gate_noise=noise,
                return_routing=True,
                mutable=["batch_stats"],
            )

        (out, routing), updates = run(variables, x)
        (split_out, split_routing), split_updates = run(
            jax.device_put(variables, whole), jax.device_put(x, split)
        )
        # Four slots for six images: the capacity is that of all devices together.
        np.testing.assert_array_equal(routing.dropped, [2])
        np.testing.assert_array_equal(split_routing.dropped, [2])
        np.testing.assert_allclose(split_out, out, rtol=0, atol=1e-5)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            split_updates,
            updates,
        )
