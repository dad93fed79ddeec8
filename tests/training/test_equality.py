"""One device, eight, eight with FSDP, and two processes of four train the same network.

In float64 everything agrees to rounding. In float32 Adam turns the rounding noise of gradients near
zero into steps of the size of the learning rate, so that parameters cannot agree closely; first
gradients and losses can, which is tried on eight devices.
"""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import networks
import numpy as np
import pytest
import training_runs as runs

NUM_STEPS = 10
BOTH = ["float32", "float64"]
SETUPS = [
    {"name": "one", "devices": 1, "fsdp": False, "types": BOTH},
    {"name": "eight", "devices": 8, "fsdp": False, "types": BOTH},
    {"name": "fsdp", "devices": 8, "fsdp": True, "types": ["float64"]},
]
SHARED = {"name": "processes", "devices": 0, "fsdp": False, "types": ["float64"]}
# The released network's gates have statistics of the whole batch; its experts' images travel.
KINDS = ("windowed", "released")
SINGLE_PROCESS = [{"network": kind, **setup} for kind in KINDS for setup in SETUPS]
TWO_PROCESSES = [{"network": kind, **SHARED} for kind in KINDS]
TRAINING = {"train.batch_size": 16, "train.loss": "l1"}
# Two are enough of a mixture: the one with complex numbers, and one of convolutions.
EXPERTS = ("fft", "swt")
NETWORKS = {
    "windowed": (runs.CONFIG, dataclasses.replace(networks.WINDOWED, depth=1, experts=EXPERTS)),
    "released": (
        runs.RELEASED_CONFIG,
        dataclasses.replace(networks.RELEASED, experts=EXPERTS),
    ),
}
# One constant more in all logits of a softmax changes nothing: its gradient is rounding noise.
WITHOUT_EFFECT = ("pos_bias_0/dense3/bias", "pos_bias_1/dense3/bias")
SETTINGS = [(kind, name) for kind in KINDS for name in ("eight", "fsdp", "processes")]

pytestmark = pytest.mark.slow


def start(setups, local_devices, num_processes, *, out, pairs, cache):
    """Starts the processes that train in some settings."""
    job = {
        "networks": {
            name: {"config": config, "overrides": runs.tiny_overrides(pairs, network) | TRAINING}
            for name, (config, network) in NETWORKS.items()
        },
        "setups": setups,
        "local_devices": local_devices,
        "num_steps": NUM_STEPS,
        "out": str(out),
        "coordinator_address": f"127.0.0.1:{runs.free_port()}",
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
    """By network, type and setting: losses, first gradients, parameters and averages."""
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
        network.name: {
            kind.name: {path.stem: dict(np.load(path)) for path in kind.glob("*.npz")}
            for kind in network.iterdir()
        }
        for network in out.iterdir()
    }


def largest_difference(got, want, prefix, *, gate=None):
    """Returns the largest difference relative to each array's largest value.

    With `gate`, only of the gates' arrays (True) or only of the others (False).
    """
    names = [n for n in want if n.startswith(prefix) and not n.endswith(WITHOUT_EFFECT)]
    names = [n for n in names if gate is None or ("/gate" in n) == gate]
    largest = {n: np.abs(want[n]).max(initial=0) for n in names}
    return max(np.abs(got[n] - want[n]).max() / largest[n] for n in names if largest[n] > 0)


def loss_difference(got, want):
    return np.max(np.abs(got["losses"] - want["losses"]) / want["losses"])


@pytest.mark.parametrize(("network", "setting"), SETTINGS)
def test_in_float64_all_settings_end_equal(results, network, setting):
    got, want = results[network]["float64"][setting], results[network]["float64"]["one"]
    assert any(name.startswith("ema/batch_stats/") for name in want) == (network == "released")
    assert got["losses"].dtype == np.float64
    assert got["losses"].shape == (NUM_STEPS,)
    assert loss_difference(got, want) < 1e-5
    for prefix in ("grad/", "param/", "ema/"):
        assert largest_difference(got, want, prefix) < 1e-5, prefix


@pytest.mark.parametrize("network", KINDS)
def test_in_float32_first_gradients_and_losses_agree(results, network):
    got, want = (results[network]["float32"][name] for name in ("eight", "one"))
    assert got["losses"].dtype == np.float32
    assert got["losses"].shape == (NUM_STEPS,)
    assert loss_difference(got, want) < 1e-3
    assert largest_difference(got, want, "grad/") < 1e-4


@pytest.mark.parametrize("network", KINDS)
@pytest.mark.parametrize("gate", [False, True])
def test_float32_rounds_no_worse_on_several_devices(results, gate, network):
    """Measured from float64's gradients of the same parameters, images and gate noise."""
    of = results[network]
    alone, shared = (
        largest_difference(of["float32"][name], of["float64"]["one"], "grad/", gate=gate)
        for name in ("one", "eight")
    )
    assert shared < 3 * alone


@pytest.mark.parametrize("network", KINDS)
def test_only_fsdp_splits_parameters(results, network):
    of = results[network]["float64"]
    assert {name: bool(values["num_split"]) for name, values in of.items()} == {
        "one": False,
        "eight": False,
        "fsdp": True,
        "processes": False,
    }


@pytest.mark.parametrize("network", KINDS)
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_training_gets_somewhere(results, kind, network):
    losses = results[network][kind]["one"]["losses"]
    assert losses[-1] < losses[0]
