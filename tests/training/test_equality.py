"""One device, eight, eight with FSDP, and two processes of four train the same network.

In float64 everything agrees to rounding. In float32 Adam turns the rounding noise of gradients near
zero into steps of the size of the learning rate, so that parameters cannot agree closely; first
gradients and losses can, which is tried on eight devices.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import training_runs as runs

NUM_STEPS = 20
SINGLE_PROCESS = [
    {"name": "one", "devices": 1, "fsdp": False, "types": ["float32", "float64"]},
    {"name": "eight", "devices": 8, "fsdp": False, "types": ["float32", "float64"]},
    {"name": "fsdp", "devices": 8, "fsdp": True, "types": ["float64"]},
]
TWO_PROCESSES = [{"name": "processes", "devices": 0, "fsdp": False, "types": ["float64"]}]
OVERRIDES = {
    "train.batch_size": 16,
    "train.loss": "l1",
    # Two are enough of a mixture: the one with complex numbers, and one of convolutions.
    "model.experts": ("fft", "swt"),
    # A network that starts as the identity has first gradients of rounding noise only.
    "model.global_skip": False,
}
# One constant more in all logits of a softmax changes nothing: its gradient is rounding noise.
WITHOUT_EFFECT = ("pos_bias_0/dense3/bias", "pos_bias_1/dense3/bias")
SETTINGS = ("eight", "fsdp", "processes")

pytestmark = pytest.mark.slow


def start(setups, local_devices, num_processes, *, out, pairs, cache):
    """Starts the processes that train in some settings."""
    job = {
        "setups": setups,
        "local_devices": local_devices,
        "overrides": runs.tiny_overrides(pairs) | OVERRIDES,
        "num_steps": NUM_STEPS,
        "out": str(out),
        "coordinator": f"127.0.0.1:{runs.free_port()}",
        "num_processes": num_processes,
    }
    program = [sys.executable, str(Path(__file__).parent / "equality_worker.py")]
    environment = runs.environment(cache) | {"PYTHONPATH": str(runs.ROOT)}
    return [
        subprocess.Popen(
            [*program, json.dumps(job | {"process_id": i})],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(num_processes)
    ]


@pytest.fixture(scope="module")
def results(tmp_path_factory, pairs_dir, xla_cache):
    """By type and setting: losses, first gradients, parameters and averages."""
    out = tmp_path_factory.mktemp("equality")
    common = {"out": out, "pairs": pairs_dir, "cache": xla_cache}
    # Side by side: most of the time goes into compiling, which keeps one core busy.
    processes = [*start(SINGLE_PROCESS, 8, 1, **common), *start(TWO_PROCESSES, 4, 2, **common)]
    try:
        outputs = [process.communicate(timeout=runs.PATIENCE)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    return {
        kind.name: {path.stem: dict(np.load(path)) for path in kind.glob("*.npz")}
        for kind in out.iterdir()
    }


def largest_difference(got, want, prefix, *, gate=None):
    """Returns the largest difference relative to each array's largest value.

    With `gate`, only of the gates' arrays (True) or only of the others (False).
    """
    names = [n for n in want if n.startswith(prefix) and not n.endswith(WITHOUT_EFFECT)]
    names = [n for n in names if gate is None or ("/gate/" in n) == gate]
    largest = {n: np.abs(want[n]).max(initial=0) for n in names}
    return max(np.abs(got[n] - want[n]).max() / largest[n] for n in names if largest[n] > 0)


def loss_difference(got, want):
    return np.max(np.abs(got["losses"] - want["losses"]) / want["losses"])


@pytest.mark.parametrize("setting", SETTINGS)
def test_in_float64_all_settings_end_equal(results, setting):
    got, want = results["float64"][setting], results["float64"]["one"]
    assert got["losses"].dtype == np.float64
    assert got["losses"].shape == (NUM_STEPS,)
    assert loss_difference(got, want) < 1e-5
    for prefix in ("grad/", "param/", "ema/"):
        assert largest_difference(got, want, prefix) < 1e-5, prefix


def test_in_float32_first_gradients_and_losses_agree(results):
    got, want = results["float32"]["eight"], results["float32"]["one"]
    assert got["losses"].dtype == np.float32
    assert got["losses"].shape == (NUM_STEPS,)
    assert loss_difference(got, want) < 1e-3
    assert largest_difference(got, want, "grad/") < 1e-4


@pytest.mark.parametrize("gate", [False, True])
def test_float32_rounds_no_worse_on_several_devices(results, gate):
    """Measured from float64's gradients of the same parameters, images and gate noise."""
    exact = results["float64"]["one"]
    alone, shared = (
        largest_difference(results["float32"][name], exact, "grad/", gate=gate)
        for name in ("one", "eight")
    )
    assert shared < 3 * alone


def test_only_fsdp_splits_parameters(results):
    assert {name: bool(of["num_split"]) for name, of in results["float64"].items()} == {
        "one": False,
        "eight": False,
        "fsdp": True,
        "processes": False,
    }


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_training_gets_somewhere(results, kind):
    losses = results[kind]["one"]["losses"]
    assert losses[-1] < losses[0]
