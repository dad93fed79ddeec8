"""Average difference of two rate-distortion curves: BD-rate and BD-PSNR.

Both curves are interpolated over log10(rate) and compared by their integrals over the stretch that
they share. Three interpolators are in use in the field; they differ by hundredths of a percent on
well-behaved curves.

Source: Bjontegaard, VCEG-M33 (2001), cubic; JCT-VC and JVET common test conditions, pchip;
Herglotz et al., "Beyond Bjontegaard" (2022), Akima.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

BDMethod = Literal["pchip", "cubic", "akima"]

MIN_POINTS = 4

Number = float | int
Values = Sequence[Number] | np.ndarray


@dataclasses.dataclass(frozen=True)
class BDResult:
    """Differences of a test curve from an anchor, and how much of the curves they rest on.

    Attributes:
        bd_rate: Rate at equal PSNR, in percent; negative: the test needs fewer bits.
        bd_psnr: PSNR at equal rate, in dB; positive: the test is better.
        psnr_overlap: How much of the PSNRs that the two curves cover together both have, in (0, 1]:
            what `bd_rate` rests on.
    """

    bd_rate: float
    bd_psnr: float
    psnr_overlap: float


def bjontegaard_delta(
    rate_anchor: Values,
    psnr_anchor: Values,
    rate_test: Values,
    psnr_test: Values,
    *,
    method: BDMethod = "pchip",
) -> BDResult:
    """Compares two rate-distortion curves.

    Args:
        rate_anchor: Rates of the anchor, positive, any unit, any order; at least 4.
        psnr_anchor: PSNR in dB at these rates; strictly rising with rate.
        rate_test: Rates of the test, in the anchor's unit.
        psnr_test: PSNR in dB at these rates.
        method: Interpolator: monotone piecewise cubic (pchip), one cubic polynomial (least squares
            beyond four points), or Akima.

    Raises:
        ValueError: If a curve has under 4 points, is not finite, has rates that are not positive,
            or a PSNR that does not rise with rate; if the curves share no stretch of rate or PSNR;
            if the method is unknown.
    """
    if method not in get_args(BDMethod):
        raise ValueError(f"method is {method!r}, expected one of {get_args(BDMethod)}")
    anchor_rate, anchor_psnr = _checked_curve(rate_anchor, psnr_anchor, "anchor")
    test_rate, test_psnr = _checked_curve(rate_test, psnr_test, "test")

    psnr_interval, psnr_overlap = _overlap(anchor_psnr, test_psnr, "PSNR")
    rate_interval, _ = _overlap(anchor_rate, test_rate, "rate")
    rate_gap = _mean_gap((anchor_psnr, anchor_rate), (test_psnr, test_rate), psnr_interval, method)
    psnr_gap = _mean_gap((anchor_rate, anchor_psnr), (test_rate, test_psnr), rate_interval, method)
    return BDResult(
        bd_rate=(10**rate_gap - 1) * 100,
        bd_psnr=psnr_gap,
        psnr_overlap=psnr_overlap,
    )


def bd_rate(
    rate_anchor: Values,
    psnr_anchor: Values,
    rate_test: Values,
    psnr_test: Values,
    *,
    method: BDMethod = "pchip",
) -> float:
    """Returns the mean rate difference at equal PSNR, in percent; see `bjontegaard_delta`."""
    curves = (rate_anchor, psnr_anchor, rate_test, psnr_test)
    return bjontegaard_delta(*curves, method=method).bd_rate


def bd_psnr(
    rate_anchor: Values,
    psnr_anchor: Values,
    rate_test: Values,
    psnr_test: Values,
    *,
    method: BDMethod = "pchip",
) -> float:
    """Returns the mean PSNR difference at equal rate, in dB; see `bjontegaard_delta`."""
    curves = (rate_anchor, psnr_anchor, rate_test, psnr_test)
    return bjontegaard_delta(*curves, method=method).bd_psnr


def single_point_rate_saving(
    rate_anchor: Values, psnr_anchor: Values, rate: Number, psnr: Number
) -> float:
    """Returns the bits one coded point saves against an anchor curve, in percent of the anchor.

    Not a BD-rate: it holds at this one PSNR only, and must be labelled so. The anchor's rate at
    that PSNR comes from pchip interpolation of log rate; nothing is extrapolated.

    Args:
        rate_anchor: Rates of the anchor, positive; at least 4.
        psnr_anchor: PSNR in dB at these rates; strictly rising with rate.
        rate: Rate of the point, in the anchor's unit.
        psnr: PSNR of the point, in dB.

    Returns:
        Percent; positive where the point needs fewer bits than the anchor.

    Raises:
        ValueError: If the anchor is not a valid curve, the rate is not positive, or the PSNR lies
            outside the anchor's range.
    """
    log_rates, psnrs = _checked_curve(rate_anchor, psnr_anchor, "anchor")
    if not (math.isfinite(rate) and rate > 0):
        raise ValueError(f"rate is {rate}, expected a positive number")
    if not psnrs[0] <= psnr <= psnrs[-1]:
        raise ValueError(
            f"psnr {psnr} dB lies outside the anchor's {psnrs[0]:g} to {psnrs[-1]:g} dB; "
            "add anchor points beyond it (nothing is extrapolated)"
        )
    from scipy import interpolate  # a seventh of the time in which a training starts

    anchor = 10 ** float(interpolate.PchipInterpolator(psnrs, log_rates)(psnr))
    return (1 - rate / anchor) * 100


def _checked_curve(rates: Values, psnrs: Values, role: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns log10 rates and PSNR, sorted by rate."""
    rate = np.asarray(rates, np.float64).ravel()
    psnr = np.asarray(psnrs, np.float64).ravel()
    if rate.size != psnr.size:
        raise ValueError(f"the {role} has {rate.size} rates but {psnr.size} PSNR values")
    if rate.size < MIN_POINTS:
        raise ValueError(
            f"the {role} has {rate.size} points, expected at least {MIN_POINTS}: "
            "code it at more QPs"
        )
    if not (np.isfinite(rate).all() and np.isfinite(psnr).all()):
        raise ValueError(f"the {role} holds values that are not finite: {rate}, {psnr}")
    if (rate <= 0).any():
        raise ValueError(f"the {role} has a rate of {rate.min()}, expected positive rates")
    order = np.argsort(rate, kind="stable")
    rate, psnr = rate[order], psnr[order]
    if (np.diff(rate) <= 0).any() or (np.diff(psnr) <= 0).any():
        raise ValueError(
            f"the {role}'s PSNR does not rise strictly with its rate: rates {rate.tolist()}, "
            f"PSNR {psnr.tolist()}; drop the points that others dominate"
        )
    return np.log10(rate), psnr


def _overlap(
    anchor: np.ndarray, test: np.ndarray, quantity: str
) -> tuple[tuple[float, float], float]:
    """Returns the shared stretch of two rising sequences, and its share of their union."""
    low, high = max(anchor[0], test[0]), min(anchor[-1], test[-1])
    if low >= high:
        raise ValueError(
            f"the curves share no stretch of {quantity}: compare points of similar {quantity}"
        )
    union = max(anchor[-1], test[-1]) - min(anchor[0], test[0])
    return (float(low), float(high)), float((high - low) / union)


def _mean_gap(
    anchor: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    interval: tuple[float, float],
    method: BDMethod,
) -> float:
    """Returns the mean of test minus anchor over an interval of their common abscissa."""
    integrals = [_integral(x, y, interval, method) for x, y in (anchor, test)]
    return (integrals[1] - integrals[0]) / (interval[1] - interval[0])


def _integral(
    x: np.ndarray, y: np.ndarray, interval: tuple[float, float], method: BDMethod
) -> float:
    if method == "cubic":
        antiderivative = np.polynomial.Polynomial.fit(x, y, 3).integ()
        return float(antiderivative(interval[1]) - antiderivative(interval[0]))
    from scipy import interpolate

    make = interpolate.PchipInterpolator if method == "pchip" else interpolate.Akima1DInterpolator
    return float(make(x, y).integrate(*interval))
