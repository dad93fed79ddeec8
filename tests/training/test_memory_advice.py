import jax
import pytest

import configs
from armoe_jax.training.memory_advice import OutOfMemoryError, advising_on_memory


@pytest.fixture(scope="module")
def config():
    return configs.load("configs/base.py", {"data.num_workers": 7})


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 8 TiB"),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nMore."),
    ],
)
def test_want_of_memory_is_told_with_what_to_change(config, error):
    with pytest.raises(OutOfMemoryError) as told, advising_on_memory(config):
        raise error
    for words in ("train.batch_size (32)", "accumulation_steps (1)", "model.remat", "bfloat16"):
        assert words in str(told.value)
    assert "\n" not in str(told.value)


def test_a_killed_worker_is_told(config):
    message = "Worker process was terminated unexpectedly with exit code -9. Search the logs above"
    with pytest.raises(OutOfMemoryError, match=r"num_workers \(7\)"), advising_on_memory(config):
        raise RuntimeError(message)


def test_other_errors_pass(config):
    with pytest.raises(RuntimeError, match="INTERNAL"), advising_on_memory(config):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
