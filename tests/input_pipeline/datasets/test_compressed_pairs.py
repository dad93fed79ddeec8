from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from input_pipeline import datasets
from input_pipeline.build import build
from input_pipeline.datasets.base import coded_config
from input_pipeline.image_files import list_images, read_rgb
from input_pipeline.manifest import Tree


def read(name: str, split: str, data_dir: Path) -> dict[str, dict]:
    source = tfds.data_source(name, data_dir=str(data_dir), split=split)
    return {element["name"].decode(): element for element in source}


@pytest.fixture
def tree(tmp_path, source_folder) -> Path:
    root = tmp_path / "built"
    sources = list_images(source_folder)
    build(sources, [Tree(root / f"jpeg/quality{q}", "jpeg", q) for q in (10, 35)])
    return root


def test_compressed_pairs_keep_the_tree_s_bytes(tree, tmp_path):
    data_dir = tmp_path / "tfds"
    datasets.prepare("compressed_pairs/jpeg_quality10", data_dir=data_dir, manual_dir=tree)
    elements = read("compressed_pairs/jpeg_quality10", "train", data_dir)
    folder = tree / "jpeg/quality10"
    assert sorted(elements) == [path.stem for path in list_images(folder / "gt")]
    for name, element in elements.items():
        for part in ("gt", "lq"):
            np.testing.assert_array_equal(element[part], read_rgb(folder / part / f"{name}.png"))
        assert (element["qp"], element["codec"]) == (10, b"jpeg")


def test_compressed_pairs_of_any_quality(tree, tmp_path):
    builder = datasets.CompressedPairs(data_dir=str(tmp_path), config=coded_config("jpeg", 35))
    datasets.prepare(builder, manual_dir=tree / "jpeg/quality35")
    source = builder.as_data_source(split="train")
    assert len(source) == 3
    assert source[0]["qp"] == 35
    wrong = datasets.CompressedPairs(data_dir=str(tmp_path), config=coded_config("jpeg", 36))
    with pytest.raises(ValueError, match=r"\('jpeg', 35, 'clean'\), config jpeg_quality36 needs"):
        datasets.prepare(wrong, manual_dir=tree / "jpeg/quality35")
    with pytest.raises(FileNotFoundError, match=r"manifest\.json does not exist; build it"):
        datasets.prepare(wrong, manual_dir=tree)
