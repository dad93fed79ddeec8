import hashlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from input_pipeline import datasets
from input_pipeline.codecs import get_codec
from input_pipeline.image_files import list_images, read_rgb
from input_pipeline.pipeline import eval_pairs
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
