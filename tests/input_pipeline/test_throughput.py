"""Speed of reading, by kind of storage."""

from input_pipeline.throughput import compare_storage, measure


def test_throughput_is_measured_for_every_storage(config, tmp_path):
    rows = compare_storage(
        {**config, "qps": (10, 50)}, tmp_path / "work", seconds=0.01, patch_size=16
    )
    assert len(rows) == 8
    assert all(row.patches_per_second > 0 and row.num_patches >= 32 for row in rows)
    single = measure("patches of 8", {**config, "patch_size": 8}, batch_size=2, seconds=0.0)
    assert single.num_patches >= 0
