"""Evaluations of small pictures."""

import pytest
from made_runs import QUALITIES, make_run


@pytest.fixture(scope="package")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return [make_run(root / f"q{quality}", quality) for quality in QUALITIES]
