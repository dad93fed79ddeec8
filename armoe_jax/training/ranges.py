"""Refuses settings that no run can use, before anything is compiled."""

import math

Number = float | int


def require_range(
    name: str,
    value: Number,
    *,
    low: Number = -math.inf,
    above: Number = -math.inf,
    high: Number = math.inf,
    below: Number = math.inf,
) -> None:
    """Refuses a number that is not finite or not in its range.

    Args:
        name: Of the field, such as "optim.eps".
        value: Its value.
        low: Least value allowed.
        above: What it must exceed.
        high: Largest value allowed.
        below: What it must stay under.

    Raises:
        ValueError: With the value and what is allowed.
    """
    if math.isfinite(value) and low <= value <= high and above < value < below:
        return
    bounds = [
        f"{words} {bound:g}"
        for words, bound in (
            ("at least", low),
            ("above", above),
            ("at most", high),
            ("below", below),
        )
        if math.isfinite(bound)
    ]
    raise ValueError(f"{name} is {value}; it must be a finite number, {' and '.join(bounds)}")
