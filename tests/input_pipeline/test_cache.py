"""Decoded pairs, cut up and kept."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_batches import assert_equal, batches
from made_images import coordinates, upscaled
from PIL import Image

from input_pipeline.cache import cut, pack, starts, unpack
from input_pipeline.example import Example
from input_pipeline.image_files import list_images, read_rgb


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
def test_windows_cover_a_side(length, size, step):
    positions = starts(length, size, min(step, size))
    covered = {place for start in positions for place in range(start, min(start + size, length))}
    assert covered == set(range(length))
    assert all(start + size <= length for start in positions) or positions == [0]


def test_windows_of_common_use():
    # 480 wide windows every 240 pixels in a side of 1000: the last one ends at the border.
    assert starts(1000, 480, 240) == [0, 240, 480, 520]
    assert starts(960, 480, 240) == [0, 240, 480]
    assert starts(300, 480, 240) == [0]


@pytest.mark.parametrize("scale", [1, 2])
def test_cutting_and_packing(scale):
    lq = coordinates(7, 9)
    parts = list(cut(Example(lq, upscaled(lq, scale), 22, 1), size=5, step=4, scale=scale))
    assert [tuple(part.lq[0, 0, :2]) for part in parts] == [(0, 0), (0, 4), (2, 0), (2, 4)]
    for part in parts:
        back = unpack(pack(part))
        np.testing.assert_array_equal(back.lq, part.lq)
        np.testing.assert_array_equal(back.gt, upscaled(part.lq, scale))
        assert (back.qp, back.codec) == (22, 1)


def test_packing_stores_shared_images_once():
    image = coordinates(6, 6)
    (part,) = cut(Example(image, image), size=6, step=6, scale=1)
    record = pack(part)
    assert len(record) == 32 + 6 * 6 * 3
    assert unpack(record).lq is unpack(record).gt or np.array_equal(unpack(record).gt, image)


@pytest.mark.parametrize("cache", ["memory", "array_record"])
def test_caches_change_nothing(cache, config):
    cached = {**config, "cache": cache, "subimage_size": 64}  # larger than every image
    assert_equal(batches(cached), batches(config))
    assert_equal(batches(cached), batches(config))  # read back, not built


def test_small_subimages_are_valid_patches(config, built):
    small = {**config, "cache": "array_record", "subimage_size": 16, "subimage_step": 16}
    originals = [read_rgb(path) for path in list_images(built / "source")]
    windows = {
        image[top : top + 16, left : left + 16].tobytes()
        for image in originals
        for top in {*range(0, image.shape[0] - 15, 16), image.shape[0] - 16}
        for left in {*range(0, image.shape[1] - 15, 16), image.shape[1] - 16}
    }
    for batch in batches({**small, "augment": False}, steps=range(4)):
        for patch in np.round(batch["gt"] * 255).astype(np.uint8):
            assert patch.tobytes() in windows


def test_cache_notices_changed_files(config, tmp_path, built):
    copy = tmp_path / "copy"
    shutil.copytree(built / "jpeg/quality10", copy)
    cached = {**config, "root": str(copy), "cache": "memory"}
    before = batches(cached)
    image = read_rgb(copy / "gt/0.png")
    for name in "01234":
        Image.fromarray(255 - read_rgb(copy / f"gt/{name}.png")).save(copy / f"gt/{name}.png")
    assert image.shape == read_rgb(copy / "gt/0.png").shape
    after = batches(cached)
    np.testing.assert_allclose(after[0]["gt"], 1 - before[0]["gt"], atol=1e-6)
