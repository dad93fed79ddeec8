import math

import pytest

from armoe_jax.training.ranges import require_range


@pytest.mark.parametrize("bounds", [{}, {"low": 2}, {"high": 2}, {"above": 1.9, "below": 2.1}])
def test_numbers_within_pass(bounds):
    require_range("optim.eps", 2, **bounds)


@pytest.mark.parametrize(
    ("value", "bounds", "words"),
    [
        (1.5, {"low": 2}, "at least 2"),
        (2, {"above": 2}, "above 2"),
        (2.5, {"low": 0, "high": 2}, "at least 0 and at most 2"),
        (1, {"low": 0, "below": 1}, "at least 0 and below 1"),
        (math.nan, {"low": 0}, "at least 0"),
        (math.inf, {"above": 0}, "above 0"),
        (-math.inf, {"high": 0.25}, "at most 0.25"),
    ],
)
def test_others_are_refused_with_what_is_allowed(value, bounds, words):
    with pytest.raises(ValueError, match="must be a finite number") as caught:
        require_range("optim.eps", value, **bounds)
    assert str(caught.value) == f"optim.eps is {value}; it must be a finite number, {words}"
