"""Working directories of training runs, read as models."""

import shutil

import jax
import numpy as np
import pytest
from absl import logging
from small_state import make_meta as meta
from small_state import make_state
from small_state import save_steps as save

from armoe_jax.checkpoints import workdir
from armoe_jax.checkpoints.workdir import load_workdir
from armoe_jax.models import VARIANTS
from armoe_jax.training.checkpointer import Checkpointer, SavePlan


def test_blocks_lie_on_disk_one_by_one(tmp_path):
    state = make_state(4)
    with Checkpointer(tmp_path, SavePlan(every=1, num_steps=100)) as checkpointer:
        checkpointer.save(state, meta())
    _, variables = load_workdir(tmp_path, "params")
    group = variables["params"]["group_0"]
    assert set(group) == {"block_0", "block_1"}
    for i in range(2):
        stacked = np.asarray(state.params["group_0"]["blocks"]["w"])
        np.testing.assert_array_equal(group[f"block_{i}"]["w"], stacked[i])


def test_loading_takes_the_best_then_the_newest(tmp_path):
    save(tmp_path / "evaluated", 1, 2, 3, psnr={1: 30.0, 2: 31.0, 3: 29.0})
    config, variables = load_workdir(tmp_path / "evaluated")
    assert config == VARIANTS["light_sr_x2"]
    np.testing.assert_array_equal(variables["params"]["b"], make_state(2, seed=2).params["b"])
    save(tmp_path / "plain", 1, 2)
    _, variables = load_workdir(tmp_path / "plain")
    np.testing.assert_array_equal(variables["params"]["b"], make_state(2, seed=2).params["b"])


def test_loading_prefers_averages(tmp_path):
    state = make_state(1)
    doubled = jax.tree.map(lambda x: x * 2, state.ema)
    with Checkpointer(tmp_path, SavePlan(every=1, num_steps=100)) as checkpointer:
        checkpointer.save(state.replace(ema=doubled), meta())
    b = np.asarray(state.params["b"])
    for key, factor in (("auto", 2), ("params_ema", 2), ("params", 1)):
        _, variables = load_workdir(tmp_path, key)
        np.testing.assert_array_equal(variables["params"]["b"], b * factor)
        assert set(variables) == {"params", "batch_stats"}
        assert type(variables["params"]["b"]) is np.ndarray
        assert variables["params"]["empty"].shape == (0, 24)


def test_loading_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        load_workdir(tmp_path)
    save(tmp_path, 1, ema=False)
    with pytest.raises(KeyError, match="no moving averages"):
        load_workdir(tmp_path, "params_ema")
    with pytest.raises(KeyError, match="key='ema' is not allowed"):
        load_workdir(tmp_path, "ema")


def test_a_workdir_is_recognised_by_its_checkpoints(tmp_path):
    assert not workdir.is_workdir(tmp_path)
    assert not workdir.is_workdir(tmp_path / "absent")
    (tmp_path / "checkpoints" / "6.orbax-checkpoint-tmp").mkdir(parents=True)
    assert not workdir.is_workdir(tmp_path)
    save(tmp_path, 1)
    assert workdir.is_workdir(tmp_path)


@pytest.mark.parametrize("part", ["meta", "ema", "ema/d"])
def test_a_checkpoint_that_lost_a_part_is_skipped(tmp_path, part, caplog):
    # A part that was lost whole ended the search with Orbax's KeyError.
    save(tmp_path, 3, 6)
    shutil.rmtree(tmp_path / "checkpoints" / "6" / part)
    with caplog.at_level(logging.ERROR, logger="absl"):
        _, variables = load_workdir(tmp_path)
    assert "step 6" in caplog.text
    np.testing.assert_array_equal(variables["params"]["b"], make_state(3, seed=3).params["b"])
    shutil.rmtree(tmp_path / "checkpoints" / "3" / part)
    with pytest.raises(ValueError, match=r"all checkpoints in .* are damaged"):
        load_workdir(tmp_path)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n  first\nsecond"), "ValueError: first second"),
        (OSError(), "OSError"),
        (KeyError("x" * 400), f"KeyError: {'x' * 290}"),
        (None, "another process could not read it"),
    ],
)
def test_one_line_of_an_error(error, line):
    assert workdir.describe_error(error) == line
