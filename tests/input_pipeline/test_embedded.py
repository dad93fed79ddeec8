"""Photographs inside scikit-image."""

import pytest

from input_pipeline.embedded import SPLITS, embedded_images
from input_pipeline.image_files import (
    read_rgb,
)


def test_embedded_splits_share_nothing():
    train, evaluation = set(SPLITS["train"]), set(SPLITS["eval"])
    assert train
    assert evaluation
    assert not train & evaluation
    assert all(min(read_rgb(path).shape[:2]) >= 300 for path in embedded_images("eval"))
    with pytest.raises(KeyError, match="'test' is unknown"):
        embedded_images("test")


def test_embedded_images_that_are_missing_are_named(monkeypatch):
    monkeypatch.setitem(SPLITS, "eval", ("chelsea.png", "unicorn.png"))
    with pytest.raises(FileNotFoundError, match=r"lacks unicorn\.png; reinstall scikit-image"):
        embedded_images("eval")


def test_files_come_in_the_order_of_the_table(monkeypatch):
    assert [path.name for path in embedded_images("train")] == list(SPLITS["train"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="run: pip install scikit-image"):
        embedded_images("train")
