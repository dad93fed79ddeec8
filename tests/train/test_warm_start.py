import numpy as np
import pytest

from armoe_jax import warm_start

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
