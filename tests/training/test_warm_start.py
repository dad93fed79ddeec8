import logging
import re

import jax
import numpy as np
import pytest

from armoe_jax import load_pretrained
from armoe_jax.checkpoints.workdir import load_workdir
from armoe_jax.images.io import read_image
from armoe_jax.models.stacking import unstack_blocks
from armoe_jax.training import setup, warm_start

FRESH = {
    "params": {"conv": {"kernel": np.zeros((3, 3, 2, 4), np.float32)}, "last": np.zeros(3)},
    "batch_stats": {"mean": np.zeros(5)},
}


def test_everything_that_fits_is_loaded():
    source = {
        "params": {"conv": {"kernel": np.ones((3, 3, 2, 4))}, "last": np.full(3, 2.0)},
        "batch_stats": {"mean": np.full(5, 3.0)},
    }
    merged, report = warm_start.merge(FRESH, source)
    assert report.complete
    assert str(report) == "loaded 3 arrays"
    assert merged["params"]["conv"]["kernel"].dtype == np.float32
    assert merged["params"]["last"].tolist() == [2.0, 2.0, 2.0]
    warm_start.require_complete(report, "somewhere")


def test_what_does_not_fit_is_listed_and_stays_fresh():
    source = {
        "params": {"last": np.ones(4), "old": np.ones(1), "conv": {"kernel": np.ones((3, 3, 2, 4))}}
    }
    merged, report = warm_start.merge(FRESH, source)
    assert report.loaded == ("params/conv/kernel",)
    assert report.fresh == ("batch_stats/mean",)
    assert report.misshapen == {"params/last": ((4,), (3,))}
    assert report.unused == ("params/old",)
    assert merged["params"]["last"].tolist() == [0.0, 0.0, 0.0]
    for words in ("params/last (4,) -> (3,)", "not in the checkpoint (1): batch_stats/mean"):
        assert words in str(report)
    with pytest.raises(ValueError, match=r"--config\.train\.init_partial=True"):
        warm_start.require_complete(report, "somewhere")


def test_long_lists_are_cut():
    source = {"params": {f"p{i}": np.zeros(1) for i in range(50)}}
    _, report = warm_start.merge({"params": {}}, source)
    assert "and 30 more" in str(report)


def fresh_state(config):
    """The state that a new run starts with."""
    return setup.fresh_state(setup.prepare(config))


@pytest.mark.slow
def test_a_run_starts_from_the_averages_of_another(finished_run, tiny_config, caplog):
    tiny_config.train.init_from = str(finished_run[0])
    with caplog.at_level(logging.INFO, logger="absl"):
        state = fresh_state(tiny_config)
    _, source = load_workdir(finished_run[0], "params_ema")
    for got in (state.variables, state.best_variables):
        jax.tree.map(np.testing.assert_array_equal, unstack_blocks(got), source)
    assert int(state.step) == 0
    assert f"loaded {len(jax.tree.leaves(source))} arrays" in caplog.text


@pytest.mark.slow
def test_a_run_with_other_experts_takes_what_fits(finished_run, tiny_config, caplog):
    tiny_config.train.init_from = str(finished_run[0])
    tiny_config.model.experts = ("dct", "haar", "swt")
    kernel = "params/group_0/block_0/moe/gate1/kernel"
    # The gate's last layer has an output an expert.
    listed = rf"{kernel} \(32, 2\) -> \(32, 3\).*init_partial=True"
    with pytest.raises(ValueError, match=listed):
        fresh_state(tiny_config)
    tiny_config.train.init_partial = True
    with caplog.at_level(logging.INFO, logger="absl"):
        state = fresh_state(tiny_config)
    assert re.search(r"not in the checkpoint \(\d+\): params/.*moe/swt/", caplog.text)
    _, source = load_workdir(finished_run[0])
    np.testing.assert_array_equal(
        state.params["conv_first"]["kernel"], source["params"]["conv_first"]["kernel"]
    )


@pytest.mark.slow
def test_a_run_is_a_pretrained_model(finished_run, pairs_dir):
    workdir, _ = finished_run
    model = load_pretrained(workdir)
    restored = model(read_image(pairs_dir / "eval" / "lq" / "image0.png").pixels)
    want = read_image(workdir / "restored" / "image0.png").pixels
    # The run's process compiled without optimisation: halves may round the other way.
    assert np.abs(restored.astype(int) - want).max() <= 1
    assert np.mean(restored == want) > 0.99
