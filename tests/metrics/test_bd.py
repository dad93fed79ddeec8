"""BD-rate, BD-PSNR and the single-point rate saving."""

import bjontegaard
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armoe_jax.metrics import bd_psnr, bd_rate, bjontegaard_delta, single_point_rate_saving

ANCHOR = ([9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851])
TEST = ([9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987])


@pytest.mark.parametrize(
    ("method", "rate", "quality"),
    [
        ("cubic", -4.420462706, 0.120409419),
        ("pchip", -4.417485351, 0.119692785),
        ("akima", -4.425245157, 0.119409270),
    ],
)
def test_known_answers(method, rate, quality):
    assert bd_rate(*ANCHOR, *TEST, method=method) == pytest.approx(rate, abs=1e-8)
    assert bd_psnr(*ANCHOR, *TEST, method=method) == pytest.approx(quality, abs=1e-8)


@pytest.mark.parametrize("method", ["cubic", "pchip", "akima"])
def test_equal_psnr_at_ten_percent_more_rate(method):
    rates = [1.1 * rate for rate in ANCHOR[0]]
    assert bd_rate(*ANCHOR, rates, ANCHOR[1], method=method) == pytest.approx(10.0, abs=1e-9)


def test_one_decibel_above_a_straight_line():
    # 3 dB for each doubling: 1 dB is a factor 2^(-1/3) in rate, -20.629947 %.
    rates, psnrs = [100, 200, 400, 800], [30, 33, 36, 39]
    better = [31, 34, 37, 40]
    assert bd_rate(rates, psnrs, rates, better) == pytest.approx(-20.629947, abs=1e-6)
    assert bd_psnr(rates, psnrs, rates, better) == pytest.approx(1.0, abs=1e-9)


def test_overlap_is_reported():
    result = bjontegaard_delta(
        [100, 200, 400, 800], [30, 33, 36, 39], [200, 400, 800, 1600], [34, 37, 40, 43]
    )
    # PSNR 30..39 and 34..43 share 34..39: 5 of 13 dB.
    assert result.psnr_overlap == pytest.approx(5 / 13)


curves = st.tuples(
    st.lists(st.floats(0.1, 1.0), min_size=4, max_size=7),
    st.lists(st.floats(0.5, 3.0), min_size=7, max_size=7),
).map(
    lambda steps: (
        (100 * 10 ** np.cumsum(steps[0])).tolist(),
        (30 + np.cumsum(steps[1][: len(steps[0])])).tolist(),
    )
)


@settings(max_examples=60, deadline=None)
@given(curves, curves, st.sampled_from(["pchip", "akima", "cubic"]))
def test_agrees_with_the_bjontegaard_package(anchor, test, method):
    if max(anchor[1][0], test[1][0]) >= min(anchor[1][-1], test[1][-1]):
        with pytest.raises(ValueError, match="share no stretch of PSNR"):
            bd_rate(*anchor, *test, method=method)
        return
    if max(anchor[0][0], test[0][0]) >= min(anchor[0][-1], test[0][-1]):
        with pytest.raises(ValueError, match="share no stretch of rate"):
            bd_rate(*anchor, *test, method=method)
        return
    options = {"require_matching_points": False, "min_overlap": 0}
    oracle = bjontegaard.bd_rate(*anchor, *test, method=method, **options)
    assert bd_rate(*anchor, *test, method=method) == pytest.approx(oracle, rel=1e-6, abs=1e-6)
    oracle = bjontegaard.bd_psnr(*anchor, *test, method=method, **options)
    assert bd_psnr(*anchor, *test, method=method) == pytest.approx(oracle, rel=1e-6, abs=1e-6)


def test_points_may_come_in_any_order():
    order = [2, 0, 3, 1]
    shuffled = [[values[i] for i in order] for values in TEST]
    assert bd_rate(*ANCHOR, *shuffled) == bd_rate(*ANCHOR, *TEST)


def test_bad_curves_are_refused():
    rates, psnrs = ANCHOR
    with pytest.raises(ValueError, match="3 points"):
        bd_rate(*ANCHOR, rates[:3], psnrs[:3])
    with pytest.raises(ValueError, match="4 rates but 3"):
        bd_rate(rates, psnrs[:3], *TEST)
    with pytest.raises(ValueError, match="does not rise"):
        bd_rate(*ANCHOR, rates, [40.0, 38.0, 38.5, 34.0])
    with pytest.raises(ValueError, match="does not rise"):
        bd_rate([1, 1, 2, 3], [30, 31, 32, 33], *TEST)
    with pytest.raises(ValueError, match="positive rates"):
        bd_rate([0, 1, 2, 3], [30, 31, 32, 33], *TEST)
    with pytest.raises(ValueError, match="not finite"):
        bd_rate(*ANCHOR, rates, [40.0, float("inf"), 38.5, 34.0])


def test_single_point_rate_saving_by_hand():
    # 3 dB for each doubling: 34 dB needs 200 * 2^(1/3) = 251.98; 200 is 20.63 % less.
    saving = single_point_rate_saving([100, 200, 400, 800], [30, 33, 36, 39], 200, 34)
    assert saving == pytest.approx(20.629947, abs=1e-6)
    assert single_point_rate_saving(*ANCHOR, 2486.44, 36.845) == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(ValueError, match="outside the anchor's"):
        single_point_rate_saving(*ANCHOR, 5000, 41)
    with pytest.raises(ValueError, match="rate is -1"):
        single_point_rate_saving(*ANCHOR, -1, 36)
