"""The table of a comparison, by hand."""

import gain_table


def test_the_table_has_means_and_standard_errors():
    rows = [
        {"arm": arm, "seed": seed, "parameters": 1000, "steps": steps, "gains": {"10": gain}}
        for arm, seed, steps, gain in [
            ("none", 0, 10, 0.1), ("dct", 0, 8, 0.3), ("none", 1, 12, 0.3), ("none", 2, 11, 0.2),
        ]
    ]  # fmt: skip
    # Deviation of 0.1, 0.2, 0.3: 0.1; over the root of 3: 0.058.
    assert gain_table.table(rows).splitlines() == [
        "none          1,000 parameters      11 steps  10: +0.200 ± 0.058",
        "dct           1,000 parameters       8 steps  10: +0.300",
        "dct       less none, 1 seeds  10: +0.200",
    ]
    rows[1]["silenced"] = {"10": 0.25}
    assert gain_table.table(rows).splitlines()[-1] == "dct       silenced, 1 seeds  10: +0.250"
