"""The contract of every expert in the table, and the released results of the four."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.experts import EXPERTS, ExpertInputs
from armoe_jax.ops.transforms import heat_decay

B, H, W, C = 3, 5, 4, 6  # of the fixture `inputs`

expert_names = pytest.mark.parametrize("name", EXPERTS)


@pytest.fixture(scope="module")
def components(golden_dir):
    with np.load(golden_dir / "components.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def run():
    """Applies an expert with parameters from one seed; compiled once for each expert."""
    compiled = {}

    def apply(name, inputs):
        if name not in compiled:
            module = EXPERTS[name]()
            variables = module.init(jax.random.key(0), inputs)
            compiled[name] = jax.jit(module.apply), variables
        function, variables = compiled[name]
        return function(variables, inputs)

    return apply


def test_the_table_has_the_released_order():
    assert list(EXPERTS)[:4] == ["dct", "fft", "haar", "swt"]


@expert_names
def test_has_parameters_says_whether_there_are_any(name, inputs):
    module = EXPERTS[name]()
    variables = jax.eval_shape(module.init, jax.random.key(0), inputs)
    assert ("params" in variables) == EXPERTS[name].has_parameters


@expert_names
def test_keeps_shape_and_depends_on_decay(name, inputs, run):
    out = run(name, inputs)
    assert out.shape == (B, H, W, C)
    assert out.dtype == jnp.float32
    faster = inputs.replace(decay=heat_decay(jnp.linspace(1.0, 2.0, C), H, W))
    assert np.abs(run(name, faster) - out).max() > 0.01


@expert_names
def test_images_never_mix(name, inputs, run):
    out = np.asarray(run(name, inputs))
    changed = inputs.replace(
        values=inputs.values.at[1].set(9.0), features=inputs.features.at[1].set(9.0)
    )
    after = np.asarray(run(name, changed))
    np.testing.assert_allclose(after[[0, 2]], out[[0, 2]], rtol=0, atol=1e-6)
    assert np.abs(after[1] - out[1]).max() > 0.01


@expert_names
def test_single_image_gives_the_same_as_in_a_batch(name, inputs, run):
    single = inputs.replace(values=inputs.values[1:2], features=inputs.features[1:2])
    np.testing.assert_allclose(run(name, single)[0], run(name, inputs)[1], rtol=0, atol=1e-6)


@expert_names
def test_gradients_are_finite_and_reach_the_decay(name, inputs):
    module = EXPERTS[name]()
    variables = module.init(jax.random.key(0), inputs)

    def energy(k, inputs):
        inputs = inputs.replace(decay=heat_decay(k, H, W))
        return (module.apply(variables, inputs) ** 2).sum()

    d_k, d_inputs = jax.jit(jax.grad(energy, argnums=(0, 1)))(jnp.ones(C), inputs)
    assert np.isfinite(d_k).all()
    assert (np.abs(d_k) > 1e-4).all()
    used = d_inputs.features if name == "swt" else d_inputs.values
    assert np.isfinite(used).all()
    assert np.abs(used).max() > 0.01


@pytest.mark.parametrize("name", ["dct", "fft"])
def test_invertible_transforms_without_decay_return_their_input(name, inputs, run):
    still = inputs.replace(decay=heat_decay(jnp.zeros(C), H, W))
    np.testing.assert_allclose(run(name, still), inputs.values, rtol=0, atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("size", ["12x8", "7x6"])
@pytest.mark.parametrize("name", ["dct", "fft", "haar", "swt"])
def test_released_results(components, name, size):
    part = {
        key: jnp.asarray(components[f"moe_{size}/{key}"]) for key in ("x_half", "dwconv_out", "k")
    }
    height, width = (int(n) for n in size.split("x"))
    inputs = ExpertInputs(
        values=part["x_half"],
        features=part["dwconv_out"].transpose(0, 2, 3, 1),
        decay=heat_decay(part["k"], height, width),
    )
    kernel = components["sd/moe.swt.fusion.weight"].transpose(2, 3, 1, 0)
    fusion = {
        "kernel": jnp.asarray(kernel),
        "bias": jnp.asarray(components["sd/moe.swt.fusion.bias"]),
    }
    variables = {"params": {"fusion": fusion}} if name == "swt" else {}
    golden = components[f"moe_{size}/expert_{name}"]
    error = float(components[f"f64diff/moe_{size}/expert_{name}"])
    atol = max(10 * error, 1e-5 * np.abs(golden).max())
    np.testing.assert_allclose(EXPERTS[name]().apply(variables, inputs), golden, rtol=0, atol=atol)
