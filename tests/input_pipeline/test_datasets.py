import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from input_pipeline import datasets, embedded
from input_pipeline.build import build
from input_pipeline.codecs import CodecOptions, get_codec
from input_pipeline.datasets.base import coded_config
from input_pipeline.image_files import list_images, read_rgb
from input_pipeline.manifest import Tree
from input_pipeline.pipeline import eval_pairs, train_dataset
from input_pipeline.transforms import reduce_bicubic

LAYOUTS = {
    "kodak24": ("test", ["Kodak24"]),
    "mcmaster": ("test", ["McMaster"]),
    "cbsd68": ("test", ["CBSD68/original_png"]),
    "set5": ("test", ["Set5/HR"]),
    "bsd100": ("test", ["B100/HR"]),
    "df2k": ("train", ["DIV2K/DIV2K_train_HR", "Flickr2K/Flickr2K_HR"]),
}
CHECKSUM = "73712027f33f4799a3e468a2c704e7f9ce1b094e496bc0e1299d5c00c17085d6"


def fake(number: int) -> np.ndarray:
    """A small image that no library decides about: integer arithmetic alone."""
    rows, columns = np.mgrid[:25, :34]
    planes = [(rows * 7 + columns * (3 + k) + 11 * number + k * 40) % 256 for k in range(3)]
    return np.stack(planes, -1).astype(np.uint8)


def digest(images: list[np.ndarray]) -> str:
    joined = hashlib.sha256()
    for image in images:
        joined.update(np.ascontiguousarray(image).tobytes())
    return joined.hexdigest()


@pytest.fixture
def manual_dir(tmp_path: Path) -> Path:
    root = tmp_path / "manual"
    number = 0
    for _, folders in LAYOUTS.values():
        for folder in folders:
            (root / folder).mkdir(parents=True)
            for _ in range(2):
                Image.fromarray(fake(number % 4)).save(root / folder / f"i{number:02d}.png")
                number += 1
    return root


def read(name: str, split: str, data_dir: Path) -> dict[str, dict]:
    source = tfds.data_source(name, data_dir=str(data_dir), split=split)
    return {element["name"].decode(): element for element in source}


def test_the_fake_is_what_it_was():
    assert digest([fake(0), fake(1), fake(2), fake(3)]) == CHECKSUM


@pytest.mark.parametrize("name", LAYOUTS)
def test_originals_are_stored_exactly(name, manual_dir, tmp_path):
    split, folders = LAYOUTS[name]
    datasets.prepare(f"{name}/original", data_dir=tmp_path / "tfds", manual_dir=manual_dir)
    elements = read(f"{name}/original", split, tmp_path / "tfds")
    files = [path for folder in folders for path in list_images(manual_dir / folder)]
    assert sorted(elements) == [path.stem for path in files]
    for path in files:
        element = elements[path.stem]
        np.testing.assert_array_equal(element["gt"], read_rgb(path))
        np.testing.assert_array_equal(element["lq"], element["gt"])
        assert (element["qp"], element["codec"]) == (-1, b"")


def test_bicubic_and_coded_configs(manual_dir, tmp_path):
    for config in ("bicubic_x2", "jpeg_quality40"):
        datasets.prepare(f"set5/{config}", data_dir=tmp_path, manual_dir=manual_dir)
    (path, *_) = list_images(manual_dir / "Set5/HR")
    element = read("set5/bicubic_x2", "test", tmp_path)[path.stem]
    gt, lq = reduce_bicubic(read_rgb(path), 2)  # 25x34 becomes 24x34
    np.testing.assert_array_equal(element["gt"], gt)
    np.testing.assert_array_equal(element["lq"], lq)
    element = read("set5/jpeg_quality40", "test", tmp_path)[path.stem]
    coded = get_codec("jpeg").code(read_rgb(path), 40)
    np.testing.assert_array_equal(element["lq"], coded.image)
    assert (element["qp"], element["codec"]) == (40, b"jpeg")


def test_other_formats_and_gray_are_made_rgb(tmp_path):
    folder = tmp_path / "manual/Set5"
    folder.mkdir(parents=True)
    Image.fromarray(fake(0)).save(folder / "a.bmp")
    Image.fromarray(fake(1)[..., 0]).save(folder / "b.png")
    datasets.prepare("set5/original", data_dir=tmp_path, manual_dir=tmp_path / "manual")
    elements = read("set5/original", "test", tmp_path)
    np.testing.assert_array_equal(elements["a"]["gt"], fake(0))
    np.testing.assert_array_equal(elements["b"]["gt"], fake(1)[..., :1].repeat(3, 2))


def test_df2k_validation_is_there_only_with_its_folder(manual_dir, tmp_path):
    builder = datasets.prepare("df2k/original", data_dir=tmp_path / "one", manual_dir=manual_dir)
    assert list(builder.info.splits) == ["train"]
    folder = manual_dir / "DIV2K/DIV2K_valid_HR"
    folder.mkdir()
    Image.fromarray(fake(3)).save(folder / "0801.png")
    builder = datasets.prepare("df2k/original", data_dir=tmp_path / "two", manual_dir=manual_dir)
    assert sorted(builder.info.splits) == ["train", "validation"]


@pytest.fixture
def tree(tmp_path, manual_dir) -> Path:
    root = tmp_path / "built"
    sources = list_images(manual_dir / "Set5/HR")
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
    assert len(source) == 2
    assert source[0]["qp"] == 35
    wrong = datasets.CompressedPairs(data_dir=str(tmp_path), config=coded_config("jpeg", 36))
    with pytest.raises(ValueError, match=r"\('jpeg', 35, 'clean'\), config jpeg_quality36 needs"):
        datasets.prepare(wrong, manual_dir=tree / "jpeg/quality35")
    with pytest.raises(FileNotFoundError, match=r"manifest\.json does not exist; build it"):
        datasets.prepare(wrong, manual_dir=tree)


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


def test_tfds_super_resolution(manual_dir, tmp_path):
    for config in ("original", "bicubic_x2"):
        datasets.prepare(f"set5/{config}", data_dir=tmp_path, manual_dir=manual_dir)
        root = str(tmp_path / f"set5/{config}/1.0.0")
        pairs = eval_pairs({"source": "tfds", "root": root}, scale=2)
        assert pairs[0].lq.shape == (12, 17, 3)
        assert pairs[0].gt.shape == (24, 34, 3)
    with pytest.raises(ValueError, match=r"has lq of \(12, 17\) and gt of \(24, 34\)"):
        eval_pairs({"source": "tfds", "root": root}, scale=4)[0]


def test_missing_images_are_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"manual_dir .* is not a folder"):
        datasets.prepare("kodak24/original", data_dir=tmp_path, manual_dir=tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="or is empty"):
        datasets.prepare("kodak24/original", data_dir=tmp_path, manual_dir=tmp_path / "empty")
    (tmp_path / "empty/Set5").mkdir()
    with pytest.raises(FileNotFoundError, match="no images of kodak24; put them into: Kodak24;"):
        datasets.prepare("kodak24/original", data_dir=tmp_path, manual_dir=tmp_path / "empty")


def test_another_number_of_images_is_reported(manual_dir, tmp_path, caplog):
    datasets.prepare("kodak24/original", data_dir=tmp_path, manual_dir=manual_dir)
    assert "kodak24/test has 2 images, the published set 24" in caplog.text


def test_every_codec_config_can_be_made():
    names = [config.name for config in datasets.Kodak24.BUILDER_CONFIGS]
    assert len(names) == len(set(names))
    assert {"original", "bicubic_x4", "vvc_qp27", "vvc_qp22_paper", "jpeg_quality40"} <= set(names)
    assert coded_config("vvc", 30, colors="paper", preset="fast").name == "vvc_qp30_paper_fast"
    options = CodecOptions(preset="fast", colors="paper")
    assert get_codec("vvc", options).preset == "fast"


def test_png_is_handed_over_as_a_path_only_if_rgb(tmp_path):
    from input_pipeline.datasets.base import png_or_path

    Image.fromarray(fake(0)).save(tmp_path / "rgb.png")
    Image.fromarray(fake(0)).convert("RGBA").save(tmp_path / "rgba.png")
    assert png_or_path(tmp_path / "rgb.png", fake(0)) == str(tmp_path / "rgb.png")
    encoded = png_or_path(tmp_path / "rgba.png", fake(0))
    assert isinstance(encoded, io.BytesIO)
    np.testing.assert_array_equal(np.asarray(Image.open(encoded)), fake(0))
