"""One device, eight, eight with FSDP, and two processes of four train the same network.

In float64 everything agrees to rounding. In float32 Adam turns the rounding noise of gradients near
zero into steps of the size of the learning rate, so that parameters cannot agree closely; first
gradients and losses can.
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
    {"name": "one", "devices": 1, "fsdp": False},
    {"name": "eight", "devices": 8, "fsdp": False},
    {"name": "fsdp", "devices": 8, "fsdp": True},
]
TWO_PROCESSES = [{"name": "processes", "devices": 0, "fsdp": False}]
# No skip: a network that starts as the identity has first gradients of rounding noise only.
OVERRIDES = {"train.batch_size": 16, "model.global_skip": False, "train.loss": "l1"}
# One constant more in all logits of a softmax changes nothing: its gradient is rounding noise.
WITHOUT_EFFECT = ("pos_bias_0/dense3/bias", "pos_bias_1/dense3/bias")
SETTINGS = ("eight", "fsdp", "processes")


def train(setups, local_devices, num_processes, *, x64, out, pairs, cache):
    job = {
        "setups": setups,
        "local_devices": local_devices,
        "x64": x64,
        "overrides": runs.tiny_overrides(pairs) | OVERRIDES,
        "num_steps": NUM_STEPS,
        "out": str(out),
        "coordinator": f"127.0.0.1:{runs.free_port()}",
        "num_processes": num_processes,
    }
    program = [sys.executable, str(Path(__file__).parent / "equality_worker.py")]
    environment = runs.environment(cache) | {"PYTHONPATH": str(runs.ROOT)}
    processes = [
        subprocess.Popen(
            [*program, json.dumps(job | {"process_id": i})],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(num_processes)
    ]
    outputs = [process.communicate(timeout=runs.PATIENCE)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * num_processes, outputs


@pytest.fixture(scope="module", params=["float32", "float64"])
def results(request, tmp_path_factory, pairs_dir, xla_cache):
    """Type, and for each setting its losses, first gradients, parameters and averages."""
    out = tmp_path_factory.mktemp(request.param)
    common = {"x64": request.param == "float64", "out": out, "pairs": pairs_dir, "cache": xla_cache}
    train(SINGLE_PROCESS, 8, 1, **common)
    train(TWO_PROCESSES, 4, 2, **common)
    return request.param, {path.stem: dict(np.load(path)) for path in out.glob("*.npz")}


def largest_difference(got, want, prefix, *, gate=None):
    """Returns the largest difference relative to each array's largest value.

    With `gate`, only of the gates' arrays (True) or only of the others (False).
    """
    names = [n for n in want if n.startswith(prefix) and not n.endswith(WITHOUT_EFFECT)]
    names = [n for n in names if gate is None or ("/gate/" in n) == gate]
    largest = {n: np.abs(want[n]).max() for n in names}
    return max(np.abs(got[n] - want[n]).max() / largest[n] for n in names if largest[n] > 0)


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_agree(results, setting):
    kind, of = results
    got, want = of[setting], of["one"]
    assert got["losses"].dtype == kind
    assert len(got["losses"]) == NUM_STEPS
    loss = np.max(np.abs(got["losses"] - want["losses"]) / want["losses"])
    if kind == "float64":
        assert loss < 1e-5
        assert largest_difference(got, want, "grad/") < 1e-5
        assert largest_difference(got, want, "param/") < 1e-5
        assert largest_difference(got, want, "ema/") < 1e-5
    else:
        assert loss < 1e-3
        assert largest_difference(got, want, "grad/", gate=False) < 1e-4
        # Batch norm's backward pass subtracts nearly equal numbers: five digits of them are left.
        assert largest_difference(got, want, "grad/", gate=True) < 1e-3


@pytest.mark.slow
def test_only_fsdp_splits_parameters(results):
    _, of = results
    assert {name: bool(of[name]["num_split"]) for name in ("one", *SETTINGS)} == {
        "one": False,
        "eight": False,
        "fsdp": True,
        "processes": False,
    }


@pytest.mark.slow
def test_training_gets_somewhere(results):
    _, of = results
    assert of["one"]["losses"][-1] < of["one"]["losses"][0]
