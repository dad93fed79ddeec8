"""Frequency experts, and the mixture in which windows choose between them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.experts import FRAMES
from armoe_jax.models.windowed_mixture import FrequencyExpert, WindowedMixture
from armoe_jax.ops.frames import to_windows

NO_THRESHOLD = -40.0
"""Its softplus is 0 to float32."""

WINDOW, WIDTH, EXPERTS = 4, 6, ("dct", "haar", "swt")
IMAGES, HEIGHT, COLUMNS = 3, 8, 12
SPLITS = 6
"""Windows of an image."""


def inverse_mixings(bands, channels, width, seed=0):
    """Random mixings of channels for each band, the second undoing the first."""
    rng = np.random.default_rng(seed)
    mix_in = rng.normal(size=(bands, channels, width))
    return {
        "mix_in": jnp.asarray(mix_in, jnp.float32),
        "mix_out": jnp.asarray(np.linalg.pinv(mix_in), jnp.float32),
        "threshold": jnp.full((bands, width), NO_THRESHOLD),
    }


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize(("channels", "width"), [(3, 3), (2, 5)])
def test_an_expert_whose_mixings_undo_each_other_returns_its_input(name, channels, width):
    frame = FRAMES[name](WINDOW)
    shape = (WINDOW**2, 2, 5, channels)
    windows = jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)
    params = inverse_mixings(frame.num_bands, channels, width)
    run = jax.jit(FrequencyExpert(frame, width).apply)
    np.testing.assert_allclose(run({"params": params}, windows), windows, atol=3e-4)
    # Thresholds above all coefficients leave nothing.
    params["threshold"] = jnp.full_like(params["threshold"], 1e3)
    np.testing.assert_array_equal(run({"params": params}, windows), 0 * windows)


def test_a_threshold_by_hand():
    """A 2x2 window of value 3 has one DCT coefficient, 6; 1 less is 5, spread over 4 pixels."""
    frame = FRAMES["dct"](2)
    ones = jnp.ones((4, 1, 1))
    params = {"mix_in": ones, "mix_out": ones, "threshold": jnp.full((4, 1), np.log(np.e - 1))}
    got = FrequencyExpert(frame, 1).apply({"params": params}, jnp.full((4, 1, 1, 1), 3.0))
    np.testing.assert_allclose(got, np.full((4, 1, 1, 1), 2.5), rtol=1e-5)


def test_thresholds_and_gains_follow_the_quality_by_hand():
    """The coefficient 6 of the window of value 3, as above, in images of three qualities."""
    one = np.log(np.e - 1)  # its softplus is 1
    params = {
        "mix_in": jnp.ones((4, 1, 1)),
        "mix_out": jnp.ones((4, 1, 1)),
        "threshold": jnp.full((4, 1), one),
        "threshold_slope": jnp.full((4, 1), np.log(np.exp(2) - 1) - one),  # 2 at the strongest
        "gain_slope": jnp.full((4, 1), 0.25),
    }
    expert = FrequencyExpert(FRAMES["dct"](2), 1, adapt=True)
    windows = jnp.full((4, 3, 1, 1), 3.0)
    got = expert.apply({"params": params}, windows, jnp.array([0.0, 1.0, -1.0]))
    mild = np.log1p(np.exp(2 * one - np.log(np.exp(2) - 1)))  # threshold of the mildest
    want = [(6 - 1) / 2, (6 - 2) / 2 * 1.25, (6 - mild) / 2 * 0.75]
    np.testing.assert_allclose(got, np.broadcast_to(want, (4, 1, 1, 3)).swapaxes(1, 3), rtol=1e-5)
    unknown = expert.apply({"params": params}, windows, None)
    np.testing.assert_allclose(unknown, np.full((4, 3, 1, 1), 2.5), rtol=1e-5)


@pytest.mark.parametrize("name", FRAMES)
def test_shared_mixings_are_those_of_each_band_of_a_shell(name):
    frame, rng = FRAMES[name](WINDOW), np.random.default_rng(4)
    windows = jnp.asarray(rng.normal(size=(WINDOW**2, 2, 3, 5)), jnp.float32)
    shared = {
        "mix_in": rng.normal(size=(frame.num_shells, 5, 2)).astype(np.float32),
        "mix_out": rng.normal(size=(frame.num_shells, 2, 5)).astype(np.float32),
        "threshold": rng.normal(size=(frame.num_bands, 2)).astype(np.float32),
    }
    shells = np.array(frame.shells)
    own = {k: v if k == "threshold" else v[shells] for k, v in shared.items()}
    got = FrequencyExpert(frame, 2, share=True).apply({"params": shared}, windows)
    want = FrequencyExpert(frame, 2).apply({"params": own}, windows)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def mixture(**changes):
    return WindowedMixture(EXPERTS, expert_dim=WIDTH, window=WINDOW, **changes)


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(2)
    amplitude = rng.uniform(0.2, 3, (IMAGES, 1, COLUMNS, 1))
    return jnp.asarray(amplitude * rng.normal(size=(IMAGES, HEIGHT, COLUMNS, 5)), jnp.float32)


@pytest.fixture(scope="module")
def variables(features):
    """Weights with which windows disagree and experts matter."""
    shapes = jax.eval_shape(mixture().init, jax.random.key(0), features, None)
    rng = np.random.default_rng(3)

    def draw(leaf):
        return jnp.asarray(rng.normal(0, leaf.shape[-1] ** -0.5, leaf.shape), jnp.float32)

    variables = jax.tree.map(draw, shapes)
    gate = variables["params"]["gate1"]
    gate["kernel"] = 3 * gate["kernel"]
    _, routing = compiled()(variables, features, None)
    gate["bias"] = gate["bias"] - routing.logits.mean(axis=(0, 1))  # none is the best everywhere
    return variables


@functools.cache
def compiled(route="window", train=False, expert=None, **changes):
    module = mixture(route=route, **changes)
    return jax.jit(
        lambda variables, x, noise: module.apply(
            variables, x, None, train=train, expert=expert, noise=noise
        )
    )


def test_windows_choose_and_all_experts_are_in_use(variables, features):
    _, routing = compiled()(variables, features, None)
    assert routing.expert.shape == (IMAGES, SPLITS)
    assert routing.logits.shape == (IMAGES, SPLITS, len(EXPERTS))
    assert set(np.unique(routing.expert)) == {0, 1, 2}
    np.testing.assert_array_equal(routing.expert, routing.logits.argmax(-1))
    assert int(routing.dropped) == 0


def test_training_with_a_place_for_all_equals_inference(variables, features):
    want, _ = compiled()(variables, features, None)
    got, routing = compiled(train=True, capacity_factor=3.0)(variables, features, None)
    assert int(routing.dropped) == 0
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_dense_training_adds_what_each_forced_expert_adds(variables, features):
    """Each is weighted by its probability, forced or not."""
    got, _ = compiled(train=True, dispatch="dense")(variables, features, None)
    parts = [compiled(expert=e)(variables, features, None)[0] - features for e in range(3)]
    np.testing.assert_allclose(got, features + sum(parts), rtol=1e-4, atol=1e-4)


def test_the_choice_equals_the_forced_expert_window_by_window(variables, features):
    got, routing = compiled()(variables, features, None)
    got = to_windows(got, WINDOW)
    for e in range(3):
        forced, record = compiled(expert=e)(variables, features, None)
        np.testing.assert_array_equal(record.expert, np.full((IMAGES, SPLITS), e))
        same = np.asarray(routing.expert) == e
        np.testing.assert_allclose(
            got[:, same], to_windows(forced, WINDOW)[:, same], rtol=1e-4, atol=1e-4
        )


def test_windows_that_find_no_place_stay_as_they_are(variables, features):
    got, routing = compiled(train=True, expert=1, capacity_factor=0.5)(variables, features, None)
    # ceil(6 windows * 0.5 / 3 experts) = 1 place an image.
    assert int(routing.dropped) == IMAGES * (SPLITS - 1)
    before, after = to_windows(features, WINDOW), to_windows(got, WINDOW)
    np.testing.assert_array_equal(after[:, :, 1:], before[:, :, 1:])
    assert np.abs(after[:, :, 0] - before[:, :, 0]).max(axis=(0, 2)).min() > 0.01


def test_the_order_of_images_changes_nothing(variables, features):
    order = np.array([2, 0, 1])
    got, routing = compiled()(variables, features[order], None)
    want, want_routing = compiled()(variables, features, None)
    np.testing.assert_array_equal(routing.expert, want_routing.expert[order])
    np.testing.assert_allclose(got, want[order], rtol=1e-4, atol=1e-5)


def test_noise_is_an_images_and_overrules_its_gate(variables, features):
    noise = jnp.zeros((IMAGES, 3)).at[1, 2].set(1e9)
    _, routing = compiled()(variables, features, noise)
    _, quiet = compiled()(variables, features, None)
    np.testing.assert_array_equal(routing.expert[1], np.full(SPLITS, 2))
    np.testing.assert_array_equal(routing.expert[::2], quiet.expert[::2])
    np.testing.assert_allclose(routing.logits, quiet.logits, rtol=1e-5, atol=1e-5)


def test_noise_changes_the_choice_and_not_how_much_of_it_is_added(variables, features):
    """Training sees the amplitude of inference: a window sent to an expert gets what it gave."""
    noise = jnp.zeros((IMAGES, 3)).at[:, 1].set(1e9)
    got, routing = compiled(train=True, capacity_factor=3.0)(variables, features, noise)
    assert set(np.unique(routing.expert)) == {1}
    want, _ = compiled(expert=1)(variables, features, None)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    dense = compiled(train=True, dispatch="dense")
    np.testing.assert_allclose(
        dense(variables, features, noise)[0], dense(variables, features, None)[0], rtol=1e-5
    )


def test_an_image_may_choose_for_its_windows(variables, features):
    _, routing = compiled(route="image")(variables, features, None)
    expert = np.asarray(routing.expert)
    np.testing.assert_array_equal(expert, np.broadcast_to(expert[:, :1], expert.shape))


def test_the_result_grows_with_its_input(variables, features):
    """Experts see normalised windows; what they add is multiplied by the amplitude again."""
    run = compiled(expert=0)
    added = run(variables, features, None)[0] - features
    # Without the gate, which sees the amplitude.
    still = jax.tree.map(lambda x: x, variables)
    still["params"]["gate0"] = jax.tree.map(jnp.zeros_like, still["params"]["gate0"])
    added = run(still, features, None)[0] - features
    twice = run(still, 2 * features, None)[0] - 2 * features
    np.testing.assert_allclose(twice, 2 * added, rtol=2e-2, atol=2e-2)


def test_one_expert_needs_no_gate(features):
    """It serves all windows, in training, too, as they would be served where there is a choice."""
    module = WindowedMixture(("haar",), expert_dim=WIDTH, window=WINDOW)
    params = jax.jit(module.init)(jax.random.key(0), features, None)["params"]
    assert set(params) == {"scale", "haar"}
    got, routing = jax.jit(functools.partial(module.apply, train=True))(
        {"params": params}, features, None
    )
    np.testing.assert_array_equal(routing.expert, np.zeros((IMAGES, SPLITS)))
    assert (int(routing.dropped), float(routing.load_balancing_loss)) == (0, 1)
    # The same expert among others, forced, its weight in the choice taken out again.
    among = WindowedMixture(("dct", "haar"), expert_dim=WIDTH, window=WINDOW)
    others = jax.jit(among.init)(jax.random.key(1), features, None)["params"]
    forced = jax.jit(functools.partial(among.apply, expert=1))
    want, chosen = forced({"params": others | params}, features, None)
    share = jax.nn.softmax(chosen.logits)[..., 1].reshape(IMAGES, 2, 1, 3, 1, 1)
    added = (want - features).reshape(IMAGES, 2, WINDOW, 3, WINDOW, -1) / share
    np.testing.assert_allclose(got - features, added.reshape(features.shape), atol=1e-5)


def test_gradients_reach_the_gate_and_all_experts(variables, features):
    module = mixture(capacity_factor=3.0)

    def loss(variables):
        y, _ = module.apply(variables, features, None, train=True)
        return jnp.mean(y**2)

    grads = jax.jit(jax.grad(loss))(variables)["params"]
    for leaf in jax.tree.leaves(grads):
        assert np.isfinite(leaf).all()
    for name in ("gate0", "gate1"):
        assert np.abs(grads[name]["kernel"]).max() > 1e-5
    for name in EXPERTS:
        assert min(float(np.abs(g).max()) for g in jax.tree.leaves(grads[name])) > 1e-6


def test_half_precision_is_close(variables, features):
    want, _ = compiled(expert=2)(variables, features, None)
    got, _ = compiled(expert=2, dtype="bfloat16")(variables, features, None)
    assert got.dtype == jnp.float32
    assert np.abs(got - want).mean() < 0.02 * np.abs(want - features).mean()
