"""The mixture layer: dense, sparse and inference forms; which experts run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.experts import EXPERTS, Expert
from armoe_jax.models.moe import MixtureOfExperts

B, H, W, C = 4, 4, 4, 6
ALL = ("dct", "fft", "haar", "swt")
FORCE = 1e6


@pytest.fixture(scope="module")
def x():
    return jnp.asarray(np.random.default_rng(0).normal(size=(B, H, W, C)), jnp.float32)


@pytest.fixture(scope="module")
def variables(x):
    initial = jax.jit(MixtureOfExperts(ALL).init)(jax.random.key(0), x)
    rng = np.random.default_rng(1)
    # Larger weights than the initial ones, so that experts and gate matter.
    noisy = jax.tree.map(
        lambda a: a + jnp.asarray(rng.normal(0, 0.3, a.shape), jnp.float32), initial["params"]
    )
    noisy["out_norm"]["bias"] = jnp.zeros(C)
    return {"params": noisy, "batch_stats": initial["batch_stats"]}


@pytest.fixture(scope="module")
def train(variables, x):
    """Runs a training step's forward and backward pass; compiled once for each form."""
    compiled = {}

    def run(dispatch, factor, noise):
        if (dispatch, factor) not in compiled:
            moe = MixtureOfExperts(ALL, dispatch=dispatch, capacity_factor=factor)

            def loss(params, noise):
                of = {"params": params, "batch_stats": variables["batch_stats"]}
                (out, record), updates = moe.apply(
                    of, x, train=True, noise=noise, mutable=["batch_stats"]
                )
                target = jnp.linspace(-1.0, 1.0, out.size).reshape(out.shape)
                return ((out - target) ** 2).mean(), (out, record, updates)

            compiled[dispatch, factor] = jax.jit(jax.value_and_grad(loss, has_aux=True))
        (_, aux), gradient = compiled[dispatch, factor](variables["params"], noise)
        return *aux, gradient

    return run


def choose(experts):
    return FORCE * jax.nn.one_hot(jnp.asarray(experts), len(ALL))


def unscramble(out):
    """Undoes the final rearrangement: memory order (w, c, h) back to (h, w, c)."""
    return np.asarray(out).reshape(B, W, C, H).transpose(0, 3, 1, 2)


def gate_gradient(gradient):
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradient["gate"]))


def test_nothing_dropped_equals_dense(train):
    noise = choose([0, 3, 1, 3])
    dense, dense_record, dense_updates, _ = train("dense", 4.0, noise)
    sparse, record, updates, _ = train("capacity", 4.0, noise)
    np.testing.assert_allclose(sparse, dense, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(record.expert, [0, 3, 1, 3])
    np.testing.assert_array_equal(record.expert, dense_record.expert)
    assert record.dropped == dense_record.dropped == 0
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        updates,
        dense_updates,
    )


def test_dropped_images_have_a_mixture_of_zero(train, variables):
    # One slot an expert: images 1 and 3 find expert 2 taken by image 0.
    out, record, _, _ = train("capacity", 1.0, choose([2, 2, 0, 2]))
    assert record.dropped == 2
    dense, *_ = train("dense", 4.0, choose([2, 2, 0, 2]))
    np.testing.assert_allclose(out[0], dense[0], atol=1e-5)
    np.testing.assert_allclose(out[2], dense[2], atol=1e-5)
    # Its norm is the norm's bias, here 0, so that only the last linear layer's bias remains.
    bias = variables["params"]["out_linear"]["bias"]
    for image in (1, 3):
        np.testing.assert_allclose(
            unscramble(out)[image], np.broadcast_to(bias, (H, W, C)), rtol=0, atol=1e-6
        )


def test_the_gate_learns_in_both_forms(train):
    noise = 0.1 * jax.random.gumbel(jax.random.key(0), (B, len(ALL)))
    for dispatch, factor in (("dense", 4.0), ("capacity", 4.0)):
        *_, gradient = train(dispatch, factor, noise)
        assert gate_gradient(gradient) > 1e-6, dispatch
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_unchosen_experts_learn_nothing(train):
    for dispatch, factor in (("dense", 4.0), ("capacity", 4.0)):
        *_, unused = train(dispatch, factor, choose([0, 1, 2, 0]))
        *_, used = train(dispatch, factor, choose([0, 1, 2, 3]))
        np.testing.assert_array_equal(unused["swt"]["fusion"]["kernel"], 0)
        assert np.abs(used["swt"]["fusion"]["kernel"]).max() > 1e-4


@pytest.fixture(scope="module")
def infer(variables):
    moe = MixtureOfExperts(ALL)
    return jax.jit(lambda x, noise: moe.apply(variables, x, noise=noise)[0])


class TestInference:
    def test_batch_equals_single_images(self, infer, x):
        noise = choose([3, 0, 1, 2])
        together = infer(x, noise)
        for i in range(B):
            single = infer(x[i : i + 1], noise[i : i + 1])
            np.testing.assert_allclose(single[0], together[i], rtol=0, atol=1e-5)

    def test_forced_expert_goes_before_the_gate(self, infer, variables, x):
        moe = MixtureOfExperts(ALL)
        out, record = jax.jit(lambda x: moe.apply(variables, x, expert=2))(x)
        np.testing.assert_array_equal(record.expert, [2] * B)
        np.testing.assert_allclose(out, infer(x, choose([2] * B)), rtol=0, atol=1e-5)


def test_only_the_chosen_expert_runs(monkeypatch, x):
    runs = []

    def spy(name, factor):
        class Spy(Expert):
            def __call__(self, inputs):
                jax.debug.callback(lambda: runs.append(name))
                return inputs.values * factor

        monkeypatch.setitem(EXPERTS, name, Spy)

    names = ("dct", "fft", "haar")
    for factor, name in enumerate(names, start=1):
        spy(name, factor)
    moe = MixtureOfExperts(names)
    variables = moe.init(jax.random.key(0), x)
    infer = jax.jit(lambda x, noise: moe.apply(variables, x, noise=noise)[0])

    def count(experts):
        noise = FORCE * jax.nn.one_hot(jnp.asarray(experts), len(names))
        jax.effects_barrier()
        runs.clear()
        infer(x[: len(experts)], noise).block_until_ready()
        jax.effects_barrier()
        return [runs.count(name) for name in names]

    assert count([1]) == [0, 1, 0]
    assert count([2]) == [0, 0, 1]
    # A batch costs one run an image, each of its own expert.
    assert count([0, 2, 0]) == [2, 0, 1]


@pytest.mark.parametrize("experts", [("swt", "dct"), ("haar",), ()])
def test_subsets_own_only_what_they_need(experts, x):
    moe = MixtureOfExperts(experts)
    shapes = jax.eval_shape(moe.init, jax.random.key(0), x)
    params = shapes["params"]
    assert ("swt" in params) == ("swt" in experts)
    assert ("gate" in params) == ("to_k" in params) == bool(experts)
    assert ("batch_stats" in shapes) == bool(experts)
    if experts:
        assert params["gate"]["dense2"]["kernel"].shape == (32, len(experts))


def test_order_of_experts_is_the_order_of_logits(variables, x):
    params = dict(variables["params"])
    order = [3, 0]
    params["gate"] = dict(params["gate"])
    params["gate"]["dense2"] = jax.tree.map(
        lambda a: a[..., jnp.asarray(order)], params["gate"]["dense2"]
    )
    of = {"params": params, "batch_stats": variables["batch_stats"]}
    part = jax.jit(lambda x: MixtureOfExperts(("swt", "dct")).apply(of, x, expert=0))(x)
    whole = jax.jit(lambda x: MixtureOfExperts(ALL).apply(variables, x, expert=3))(x)
    np.testing.assert_allclose(part[0], whole[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        part[1].logits, np.asarray(whole[1].logits)[:, order], rtol=0, atol=1e-6
    )


def test_without_experts_the_mixture_is_its_input(variables, x):
    params = {k: v for k, v in variables["params"].items() if k not in ("gate", "to_k", "swt")}
    apply = jax.jit(MixtureOfExperts(()).apply)
    out, record = apply({"params": params}, x)
    assert record.logits.shape == (B, 0)
    assert record.dropped == 0
    # The DCT expert without decay (k = 0) returns its input as well.
    still = dict(variables["params"]) | {
        "to_k": jax.tree.map(jnp.zeros_like, variables["params"]["to_k"])
    }
    of = {"params": still, "batch_stats": variables["batch_stats"]}
    expected = jax.jit(lambda x: MixtureOfExperts(ALL).apply(of, x, expert=0)[0])(x)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-4)
