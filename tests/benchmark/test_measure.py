import dataclasses

import jax
import networks
import numpy as np
import pytest

from armoe_jax.benchmark import measure
from armoe_jax.models import VARIANTS, build_model


@pytest.fixture
def small_yardstick(monkeypatch):
    monkeypatch.setattr(measure, "MATMUL_SIZE", 64)


@pytest.mark.parametrize("experts", [(), ("swt",), ("dct", "fft", "haar", "swt")])
@pytest.mark.parametrize("upsampler", ["icar", "lightSR"])
def test_random_variables_have_the_networks_shapes(experts, upsampler):
    config = dataclasses.replace(networks.RELEASED, experts=experts, upsampler=upsampler)
    model = build_model(config)
    expected = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
    actual = measure.random_variables(config)
    assert jax.tree.map(np.shape, actual) == jax.tree.map(np.shape, dict(expected))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(actual))


def test_runs_take_turns():
    calls = []
    runs = [lambda name=name: calls.append(name) for name in "ab"]
    seconds = measure.time_in_turns(runs, 3)
    assert "".join(calls) == "ababab"
    assert [len(of_one) for of_one in seconds] == [3, 3]
    with pytest.raises(ValueError, match="repeats is 0"):
        measure.time_in_turns(runs, 0)


def test_a_row_follows_from_its_measurement():
    measured = measure.Measurement(
        seconds=0.5, seconds_min=0.4, seconds_max=0.9, repeats=3, unit_seconds=2**34 / 3e13,
        lower_seconds=1.0, compile_seconds=2.0, computed_pixels=131_072, temp_bytes=1,
        argument_bytes=2, output_bytes=3, peak_memory_bytes=4, run_peak_bytes=None,
        device_peak_bytes=None, expert_counts=None,
    )  # fmt: skip
    case = measure.Case("car", "train", 128, 128, batch=4)
    row = measure.make_row(case, measured, VARIANTS["car"])
    # A training step: 3 * 4 images * 683.73 GFLOP = 8,204.7 GFLOP in half a second.
    assert row["images_per_second"] == 8.0
    # 4 * 128 * 128 = 65,536 pixels, of which each is computed twice.
    assert row["seconds_per_megapixel"] == pytest.approx(7.62939, abs=1e-5)
    assert row["seconds_per_computed_megapixel"] == pytest.approx(3.81470, abs=1e-5)
    # A product of 2048 * 2048 takes 2**34 operations, at 3e13 a second 0.57266 ms.
    assert row["units_per_megapixel"] == pytest.approx(13_322.6, abs=0.5)
    assert row["useful_gflop"] == pytest.approx(8204.7, abs=0.1)
    assert row["gflop_per_second"] == pytest.approx(16409.5, abs=0.1)
    assert row["share_of_matmul"] == pytest.approx(0.54698, abs=1e-4)


def test_a_forced_expert_runs_in_every_block():
    case = measure.Case("tiny", "infer", 8, 8, batch=2, expert="haar")
    config = dataclasses.replace(networks.RELEASED, depth=(2,))
    measured = measure.measure_inference(build_model(config), case, repeats=1)
    # Two blocks, two images.
    assert measured.expert_counts == {"haar": 4, "swt": 0}


def test_experts_of_windows_are_counted():
    config = dataclasses.replace(VARIANTS["armoe_w_base"], embed_dim=4, expert_dim=4, depth=2)
    case = measure.Case("tiny", "infer", 32, 32, batch=2, expert="haar")
    measured = measure.measure_inference(build_model(config), case, repeats=1)
    # Two blocks, two images, four windows of 8x8 in the 16x16 features of each.
    assert measured.expert_counts == {"dct": 0, "haar": 16}


@pytest.mark.parametrize("variant", ["armoe_w_small", "light_sr_x2"])
def test_any_network_is_measured_as_it_restores(variant, monkeypatch):
    """Networks of the windowed kind are not scanned by default, released ones are."""
    config = VARIANTS[variant]
    small = {"embed_dim": 4, "expert_dim": 4} if variant.startswith("armoe_w") else {"depth": (1,)}
    config = dataclasses.replace(config, **small)
    monkeypatch.setattr(measure, "MATMUL_SIZE", 8)
    case = measure.Case(variant, "infer", 16, 16, batch=1, tile="none", overlap=0)
    assert measure.measure_restoring(build_model(config), case, repeats=1).seconds > 0


def test_restoring_needs_a_tile():
    case = measure.Case("tiny", "infer", 8, 8, batch=1)
    with pytest.raises(ValueError, match="tile=None"):
        measure.measure_restoring(build_model(networks.RELEASED), case, repeats=1)
