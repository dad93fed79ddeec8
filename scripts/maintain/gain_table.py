"""Gains of networks over seeds as text: means, standard errors, differences."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns a row an arm: parameters, steps, and mean gain and standard error by coding.

    And below, for each arm but "none", the same of its difference to "none" with the same seed, and
    of the gain with silenced experts where it was measured.
    """
    lines, differences, quieter = [], [], []
    none = {row["seed"]: row["gains"] for row in rows if row["arm"] == "none"}
    codings = list(rows[0]["gains"]) if rows else []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        of_arm = [row for row in rows if row["arm"] == arm]
        cells = [
            f"{_label(coding)}: {with_error([row['gains'][coding] for row in of_arm])}"
            for coding in codings
        ]
        steps = statistics.fmean(row["steps"] for row in of_arm)
        network = f"{arm:9} {of_arm[0]['parameters']:9,} parameters {steps:7.0f} steps"
        lines.append("  ".join([network, *cells]))
        pairs = [(row["gains"], none[row["seed"]]) for row in of_arm if row["seed"] in none]
        if pairs and arm != "none":
            less = {
                coding: [gains[coding] - of[coding] for gains, of in pairs] for coding in codings
            }
            cells = [f"{_label(coding)}: {with_error(values)}" for coding, values in less.items()]
            differences.append("  ".join([f"{arm:9} less none, {len(pairs)} seeds", *cells]))
        if quiet := [row["silenced"] for row in of_arm if "silenced" in row]:
            cells = [
                f"{_label(coding)}: {with_error([gains[coding] for gains in quiet])}"
                for coding in codings
            ]
            quieter.append("  ".join([f"{arm:9} silenced, {len(quiet)} seeds", *cells]))
    return "\n".join([*lines, *differences, *quieter, ""])


def with_error(gains: Sequence[float]) -> str:
    """Returns the mean and its standard error; of one number there is none."""
    mean = statistics.fmean(gains)
    if len(gains) < 2:
        return f"{mean:+.3f}"
    return f"{mean:+.3f} ± {statistics.stdev(gains) / len(gains) ** 0.5:.3f}"


def _label(coding: str) -> str:
    path = Path(coding)
    return coding if coding.isdigit() else path.parent.name if path.name == "lq" else path.name
