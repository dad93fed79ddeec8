"""Whole networks against the released one's results: every routing, several sizes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.checkpoints.weights import load_weights
from armoe_jax.models import build_model
from armoe_jax.restore.pretrained import load_pretrained

pytestmark = pytest.mark.parity

FORCE = 1e6
"""Added to one logit, it decides the arg-max."""


def to_images(x):
    return jnp.asarray(x.transpose(0, 2, 3, 1))


def load(path):
    model = load_weights(path)
    return dataclasses.replace(model, variables=jax.tree.map(jnp.asarray, model.variables))


def check_all_routings(golden, model, prefix="", *, scan=True):
    """Checks arg-max and each forced expert, with one program for all five."""
    network = build_model(model.config, scan=scan)
    x = to_images(golden[f"{prefix}input"])

    @jax.jit
    def run(noise):
        return network.apply(model.variables, x, gate_noise=noise, return_routing=True)

    none = np.zeros((model.config.num_layers, x.shape[0], 4), np.float32)
    out, routing = run(none)
    golden.check(f"{prefix}logits", routing.logits)
    np.testing.assert_array_equal(routing.expert, golden[f"{prefix}expert"])
    np.testing.assert_array_equal(routing.dropped, 0)
    golden.check(f"{prefix}output_argmax", out.transpose(0, 3, 1, 2))
    for i in range(4):
        noise = none.copy()
        noise[..., i] = FORCE
        out, routing = run(noise)
        np.testing.assert_array_equal(routing.expert, i)
        golden.check(f"{prefix}output_force{i}", out.transpose(0, 3, 1, 2))


@pytest.fixture(scope="module")
def model(golden_dir):
    return load(golden_dir / "lightsr_tiny.pth")


@pytest.fixture(scope="module")
def golden(load_golden, golden_dir):
    return load_golden(golden_dir / "lightsr_tiny.npz")


class TestLightSuperResolution:
    """Four blocks, two times the size; its files are in the repository."""

    @pytest.mark.parametrize("case", [0, 1, 2])
    def test_scanned(self, golden, model, case):
        check_all_routings(golden, model, f"case{case}/")

    @pytest.mark.slow
    def test_unrolled(self, golden, model):
        check_all_routings(golden, model, "case0/", scan=False)

    def test_expert_known_at_compile_time(self, golden, model):
        x = to_images(golden["case0/input"])
        network = build_model(model.config)
        out = jax.jit(lambda x: network.apply(model.variables, x, expert=1))(x)
        golden.check("case0/output_force1", out.transpose(0, 3, 1, 2))

    def test_expert_for_each_layer_and_image(self, golden, model):
        x = to_images(golden["case0/input"])
        network = build_model(model.config)
        forced = np.broadcast_to(np.asarray([3, 0, 2], np.int32), (4, 3))
        run = jax.jit(lambda x, e: network.apply(model.variables, x, expert=e, return_routing=True))
        out, routing = run(x, forced)
        np.testing.assert_array_equal(routing.expert, forced)
        for image, expert in enumerate(forced[0]):
            # Images do not influence each other, so each equals that of its own fixture.
            golden_image = golden[f"case0/output_force{expert}"][image]
            np.testing.assert_allclose(out[image].transpose(2, 0, 1), golden_image, atol=2e-5)


@pytest.fixture(scope="module")
def folder(shared_dir):
    return shared_dir / "golden"


@pytest.mark.data
@pytest.mark.slow
class TestSharedNetworks:
    """Files too large for the repository."""

    @pytest.mark.parametrize("scan", [True, False])
    @pytest.mark.parametrize("case", [0, 1, 2])
    def test_artifact_removal(self, load_golden, folder, case, scan):
        golden = load_golden(folder / "car_tiny.npz")
        check_all_routings(golden, load(folder / "car_tiny.pth"), f"case{case}/", scan=scan)

    def test_moving_average(self, load_golden, folder):
        golden = load_golden(folder / "car_tiny.npz")
        restorer = load_pretrained(folder / "car_tiny_ema.pth")
        out, routing = restorer.apply(to_images(golden["case0/input"]), return_routing=True)
        golden.check("ema_case0/logits", routing.logits)
        golden.check("ema_case0/output_argmax", np.asarray(out).transpose(0, 3, 1, 2))

    @pytest.mark.parametrize("scan", [True, False])
    @pytest.mark.parametrize("case", [0, 1])
    def test_effective_position_bias(self, load_golden, folder, case, scan):
        golden = load_golden(folder / "car_c96.npz")
        check_all_routings(golden, load(folder / "car_c96.pth"), f"case{case}/", scan=scan)

    def test_full_light_super_resolution(self, load_golden, folder):
        golden = load_golden(folder / "lightsr_x2.npz")
        check_all_routings(golden, load(folder / "lightsr_x2.pth"))

    def test_released_tiles(self, load_golden, folder):
        golden = load_golden(folder / "chop.npz")
        restorer = load_pretrained(folder / "car_tiny.pth", tile="released")
        out = restorer(np.ascontiguousarray(golden["input"][0].transpose(1, 2, 0)))
        golden.check("output", out.transpose(2, 0, 1)[None])
