import pytest

from input_pipeline import datasets, embedded
from input_pipeline.pipeline import eval_pairs, train_dataset


def test_embedded_photos(tmp_path, monkeypatch):
    monkeypatch.setitem(embedded.SPLITS, "train", ("chelsea.png",))
    monkeypatch.setitem(embedded.SPLITS, "eval", ("coffee.png",))
    datasets.prepare("embedded_photos/jpeg_quality10", data_dir=tmp_path)
    root = tmp_path / "embedded_photos/jpeg_quality10/1.0.0"
    config = {"source": "tfds", "root": str(root), "patch_size": 32}
    (pair,) = eval_pairs(config)
    assert pair.name == "coffee"
    assert pair.gt.shape == (400, 600, 3)
    dataset = train_dataset(
        {**config, "cache": "memory", "cache_dir": str(tmp_path)}, batch_size=2, seed=0
    )
    assert dataset[0]["lq"].shape == (2, 32, 32, 3)
    assert list(dataset[0]["qp"]) == [10, 10]
    assert list(dataset[0]["codec"]) == [6, 6]
    with pytest.raises(FileNotFoundError, match="has no split 'validation'; it has test, train"):
        train_dataset({**config, "split": "validation"}, batch_size=2, seed=0)
    with pytest.raises(ValueError, match="batch_size 3 on 1"):
        train_dataset({**config, "patches_per_image": 2}, batch_size=3, seed=0)
