"""On a GPU, too, a run that goes on is the run that was not interrupted, bit for bit."""

import dataclasses
import shutil

import networks
import pytest
import training_runs as runs

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

NUM_STEPS = 12
RELEASED = dataclasses.replace(networks.RELEASED, depth=(2,))


def train(workdir, config, flags, cache):
    variables = runs.environment(cache) | {
        "JAX_PLATFORMS": "cuda,cpu",
        "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # this process holds the card, too
    }
    done = runs.call(runs.command(workdir, flags, config), variables)
    assert done.returncode == 0, done.stderr
    return runs.fingerprints(workdir, NUM_STEPS)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("config", "network"),
    [(runs.CONFIG, networks.WINDOWED), (runs.RELEASED_CONFIG, RELEASED)],
    ids=["windowed", "released"],
)
def test_continuing_is_bit_equal_with_deterministic_operations(
    tmp_path, pairs_dir, xla_cache, config, network, dtype
):
    flags = runs.flags_of(runs.tiny_overrides(pairs_dir, network))
    flags += [f"--config.model.dtype={dtype}", "--config.checkpoint.keep=9"]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    expected = train(whole, config, flags, xla_cache)
    shutil.copytree(whole, resumed)
    for step in runs.steps(resumed)[1:]:
        shutil.rmtree(resumed / "checkpoints" / str(step))
    (left,) = runs.steps(resumed)
    assert left < NUM_STEPS
    assert train(resumed, config, flags, xla_cache) == expected
