"""One training step of the released network: loss, routing, statistics, gradients, Adam."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from armoe_jax.convert import armoe_rules, export_variables
from armoe_jax.models import build_model
from armoe_jax.pretrained import load_weights

pytestmark = [pytest.mark.parity, pytest.mark.data, pytest.mark.slow]


class Step:
    """The step's results by the released names."""

    def __init__(self, golden, model):
        # Unrolled: a pre-activation of the tail's LeakyReLU lies within 2e-6 of zero, where the
        # rounding of another program may flip the slope and with it 1 % of some gradients. That
        # scanned and unrolled networks are the same is shown in float64 (test_sequence.py).
        network = build_model(model.config, dispatch="dense", scan=False)
        x, target = (
            jnp.asarray(golden[name].transpose(0, 2, 3, 1)) for name in ("input", "target")
        )
        params, statistics = (
            jax.tree.map(jnp.asarray, model.variables[name]) for name in ("params", "batch_stats")
        )

        def loss_of(params):
            (out, routing), updates = network.apply(
                {"params": params, "batch_stats": statistics},
                x,
                train=True,
                gate_noise=golden["gumbel"],
                return_routing=True,
                mutable=["batch_stats"],
            )
            return jnp.abs(out - target).mean(), (out, routing, updates["batch_stats"])

        step = jax.jit(jax.value_and_grad(loss_of, has_aux=True))
        (self.loss, (out, self.routing, after)), gradients = step(params)
        self.output = np.asarray(out).transpose(0, 3, 1, 2)
        optimizer = optax.adam(2e-4, b1=0.9, b2=0.99, eps=1e-8)
        updates, _ = optimizer.update(gradients, optimizer.init(params))
        rules = armoe_rules(model.config)

        def by_name(params, statistics):
            variables = {"params": params, "batch_stats": statistics}
            return export_variables(rules, variables, {}, constants=False)

        self.gradients = by_name(gradients, statistics)
        self.after = by_name(optax.apply_updates(params, updates), after)


@pytest.fixture(scope="module")
def golden(load_golden, shared_dir):
    return load_golden(shared_dir / "golden" / "train_step.npz")


@pytest.fixture(scope="module")
def step(golden, shared_dir):
    return Step(golden, load_weights(shared_dir / "golden" / "car_tiny.pth"))


def names(golden, prefix):
    found = [n.removeprefix(prefix) for n in golden.names if n.startswith(prefix)]
    assert found
    return found


def test_forward(golden, step):
    golden.check("output", step.output)
    # The file tells no float32 error for these. Against this network in float64 (whose output is
    # as far from the golden one as the file says, 3.7e-6) the golden logits are 5.8e-4 off, 1e-5
    # of the largest, and ours 1.6e-4: statistics over four images amplify rounding.
    logits = golden["logits"]
    atol = 2e-5 * np.abs(logits).max()
    np.testing.assert_allclose(step.routing.logits, logits, rtol=0, atol=atol)
    np.testing.assert_array_equal(step.routing.expert, golden["expert"])
    np.testing.assert_array_equal(step.routing.dropped, 0)
    np.testing.assert_allclose(step.loss, golden["loss_f64"], rtol=1e-5)


def test_running_statistics(golden, step):
    for name in names(golden, "bn_after/"):
        if not name.endswith("num_batches_tracked"):
            golden.check(f"bn_after/{name}", step.after[name])


def test_gradients(golden, step):
    for name in names(golden, "grad/"):
        expected = golden[f"grad/{name}"]
        largest = np.abs(expected).max()
        if largest > 1e-4:
            np.testing.assert_allclose(
                step.gradients[name], expected, rtol=0, atol=1e-3 * largest, err_msg=name
            )
        else:
            # Experts that nobody chose, and position biases without effect.
            assert np.abs(step.gradients[name]).max() <= 1.1 * largest + 1e-6, name


def test_parameters_after_adam(golden, step):
    compared = 0
    for name in names(golden, "grad/"):
        # Adam's first step has the size of the learning rate however small the gradient is, so
        # its sign must be beyond doubt.
        size = np.abs(golden[f"grad/{name}"])
        clear = size > max(100 * golden.f64diff(f"grad/{name}"), 1e-6)
        expected = golden[f"param_after/{name}"]
        np.testing.assert_allclose(
            step.after[name][clear], expected[clear], rtol=0, atol=2e-6, err_msg=name
        )
        np.testing.assert_allclose(step.after[name], expected, rtol=0, atol=4.1e-4, err_msg=name)
        compared += clear.sum()
    assert compared > 50_000
