"""The kit's measurement of many programs: each case has its row, whatever happens to the others."""

import importlib.util
import json
from pathlib import Path

import pytest

PATH = Path(__file__).parents[4] / "scripts" / "maintain" / "gpu" / "measure_card.py"
TINY = {"config": "configs/car_base.py:vvc", "set": {"model.embed_dim": 4, "model.depth": 1}}


@pytest.fixture(scope="module")
def measure_card():
    spec = importlib.util.spec_from_file_location("measure_card", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(measure_card, tmp_path, cases, *options):
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(cases), "utf-8")
    assert measure_card.main([str(path), "--out", str(tmp_path), "--side", "64", *options]) == 0
    return json.loads((tmp_path / "card.json").read_text("utf-8"))["rows"]


def test_restoring_and_training_are_timed_and_an_error_is_told(measure_card, tmp_path):
    cases = [
        TINY | {"size": [32, 48], "batch": 2, "dtype": "bfloat16", "trace": "tiny"},
        {"variant": "unknown", "size": [32, 32]},
        TINY | {"size": [32, 32], "batch": 2, "mode": "train"},
    ]
    restoring, unknown, training = measure(measure_card, tmp_path, cases)
    for row in (restoring, training):
        assert 0 < row["seconds_min"] <= row["seconds"] <= row["seconds_max"]
        assert row["tflop_per_second"] * row["streamed"] > 0
    # Two gradients a product, and 1024 instead of 1536 pixels.
    work = [row["tflop_per_second"] * row["streamed"] for row in (training, restoring)]
    assert work[0] / work[1] == pytest.approx(3 * 1024 / 1536)
    assert "unknown" in unknown["error"]
    assert (tmp_path / "tiny.hlo.gz").stat().st_size > 0


def test_what_is_late_is_left_out(measure_card, tmp_path):
    (row,) = measure(measure_card, tmp_path, [TINY | {"size": [32, 32]}], "--seconds", "0")
    assert "in time" in row["error"]


def test_the_cases_of_a_lease_name_networks_that_exist(measure_card):
    for case in measure_card.CASES:
        assert measure_card.model_of(case)[0].config.in_chans == 3
