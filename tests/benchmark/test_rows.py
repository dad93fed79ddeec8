import pytest

from armoe_jax.benchmark import rows


def test_cases_in_words():
    row = {"model": "car", "mode": "infer", "height": 8, "width": 6, "batch": 1, "overlap": 32}
    words = {
        tile: rows.describe_case(row | {"tile": tile})
        for tile in (None, "none", "auto", "released", 64)
    }
    assert words == {
        None: "car infer 8x6, batch 1",
        "none": "car infer 8x6, batch 1, restorer",
        "auto": "car infer 8x6, batch 1, tile auto, overlap 32",
        "released": "car infer 8x6, batch 1, tile released",
        64: "car infer 8x6, batch 1, tile 64, overlap 32",
    }


def test_ratios_are_the_other_reports_figures_over_these():
    key = {"model": "car", "mode": "infer", "height": 8, "width": 8, "batch": 1}
    row = key | {"seconds": 2.0, "peak_memory_bytes": 2**30, "dtype": "float32", "expert": None}
    vague = key | {"seconds": 4.0}
    exact = key | {"seconds": 7.0, "peak_memory_bytes": 3 * 2**30, "dtype": "float32"}
    (line,) = rows.compare([row], [vague, exact])
    assert line == (
        "car infer 8x8, batch 1, float32: time 7 s / 2 s = 3.50x; "
        "peak memory 3.00 GiB / 1.00 GiB = 3.00x"
    )
    (line,) = rows.compare([row], [vague])
    assert line == "car infer 8x8, batch 1, float32: time 4 s / 2 s = 2.00x"
    (line,) = rows.compare([row], [vague | {"dtype": "bfloat16"}])
    assert line == "car infer 8x8, batch 1, float32: no such row to compare with"


@pytest.mark.parametrize("text", ["", "[]", '{"rows": 3}', '{"rows": [{"model": "car"}]}', "{}"])
def test_files_that_are_no_reports_are_refused(tmp_path, text):
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not a benchmark report"):
        rows.read_report(path)
