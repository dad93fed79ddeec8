import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_images import coordinates, upscaled

from armoe_jax.images.jpeg_coefficients import DCT, to_blocks
from input_pipeline.codecs import CODEC_IDS
from input_pipeline.example import Example
from input_pipeline.transforms import (
    JPEGDegradation,
    RandomPatches,
    code_as_jpeg,
    collate,
    random_corner,
    turn,
)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_lq_and_gt_are_cut_and_turned_alike(scale):
    lq = coordinates(30, 40)
    patches = RandomPatches(size=8, scale=scale, count=50)(
        Example(lq, upscaled(lq, scale), 27, 1), np.random.default_rng(0)
    )
    assert len(patches["lq"]) == len(patches["gt"]) == 50
    for small, large in zip(patches["lq"], patches["gt"], strict=True):
        assert small.shape == (8, 8, 3)
        np.testing.assert_array_equal(large, upscaled(small, scale))
    assert patches["qp"] == [27] * 50
    assert patches["codec"] == [1] * 50


def test_all_eight_ways_are_equally_frequent():
    image = coordinates(2, 2)
    patches = RandomPatches(size=2, count=4000)(Example(image, image), np.random.default_rng(1))
    ways, counts = np.unique([patch.tobytes() for patch in patches["lq"]], return_counts=True)
    assert len(ways) == 8
    # Binomial(4000, 1/8): mean 500, standard deviation 20.9; five of them.
    assert np.all(np.abs(counts - 500) < 105)


def test_patches_on_a_grid_start_at_each_of_its_places():
    image = coordinates(21, 13)
    patches = RandomPatches(size=8, count=200, augment=False, grid=4)(
        Example(image, image), np.random.default_rng(2)
    )
    corners = {tuple(patch[0, 0, :2].tolist()) for patch in patches["lq"]}
    assert corners == {(row, column) for row in (0, 4, 8, 12) for column in (0, 4)}


def test_without_augmentation_patches_are_upright_and_everywhere():
    image = coordinates(5, 7)
    patches = RandomPatches(size=4, count=600, augment=False)(
        Example(image, image), np.random.default_rng(2)
    )
    corners = {tuple(patch[0, 0, :2].tolist()) for patch in patches["gt"]}
    assert corners == {(row, column) for row in range(2) for column in range(4)}
    assert all(np.array_equal(patch[1:, :, 0], patch[:-1, :, 0] + 1) for patch in patches["gt"])


@given(st.booleans(), st.booleans(), st.booleans())
def test_turning_is_what_numpy_does(flip_rows, flip_columns, transpose):
    image = coordinates(3, 5)
    expected = np.flip(image, [axis for axis in (0, 1) if (flip_rows, flip_columns)[axis]])
    expected = expected.transpose(1, 0, 2) if transpose else expected
    np.testing.assert_array_equal(turn(image, flip_rows, flip_columns, transpose), expected)


def test_images_smaller_than_the_patch():
    with pytest.raises(ValueError, match="image of 9x5 is smaller than the patch of 6x6"):
        random_corner((5, 9, 3), (6, 6), np.random.default_rng(0))


def test_batches_are_in_unit_range():
    image = coordinates(4, 4)
    patches = RandomPatches(size=4, count=2, augment=False)(
        Example(image, 255 - image, 32, 6), np.random.default_rng(0)
    )
    batch = collate([patches, patches])
    assert batch["lq"].shape == batch["gt"].shape == (4, 4, 4, 3)
    assert batch["lq"].dtype == batch["gt"].dtype == np.float32
    # Row 3 is stored as 3, that is 3 / 255; its original as 252 / 255.
    assert batch["lq"][1, 3, 0, 0] == np.float32(3) / np.float32(255)
    assert batch["gt"][1, 3, 0, 0] == np.float32(252) / np.float32(255)
    np.testing.assert_array_equal(batch["qp"], np.full(4, 32, np.int32))
    np.testing.assert_array_equal(batch["codec"], np.full(4, 6, np.int32))


def test_jpeg_on_the_fly_covers_its_range(photo):
    degradation = JPEGDegradation((30, 33), ("4:2:0", "4:4:4"))
    patches = RandomPatches(size=32, count=60, degradation=degradation)(
        Example(photo, photo), np.random.default_rng(0)
    )
    assert set(patches["qp"]) == {30, 31, 32, 33}
    assert set(patches["codec"]) == {CODEC_IDS["jpeg"]}
    errors = [
        float(np.mean(np.abs(lq.astype(float) - gt)))
        for lq, gt in zip(patches["lq"], patches["gt"], strict=True)
    ]
    assert 0.5 < min(errors) <= max(errors) < 15


@pytest.mark.parametrize("on_grid", [False, True])
def test_several_jpeg_patches_are_parts_of_one_coded_region(photo, on_grid):
    image = photo[:48, :64]
    degradation = JPEGDegradation((20, 90), ("4:2:0",), on_grid)
    patches = RandomPatches(size=16, count=6, augment=False, degradation=degradation)(
        Example(image, image), np.random.default_rng(3)
    )
    assert len(set(patches["qp"])) == 1
    (top, left), *others = [place_of(patch, image) for patch in patches["gt"]]
    # Two rows of three, side by side.
    assert others == [(top + i // 3 * 16, left + i % 3 * 16) for i in range(1, 6)]
    if on_grid:
        region = image[top : top + 32, left : left + 48]
        coded = code_as_jpeg(region, patches["qp"][0], "4:2:0")[0]
        for i, patch in enumerate(patches["lq"]):
            row, column = i // 3 * 16, i % 3 * 16
            np.testing.assert_array_equal(patch, coded[row : row + 16, column : column + 16])


def place_of(patch: np.ndarray, image: np.ndarray) -> tuple[int, int]:
    """Returns top and left of the only place where the image has this patch."""
    windows = np.lib.stride_tricks.sliding_window_view(image, patch.shape)[:, :, 0]
    (place,) = np.argwhere((windows == patch).all(axis=(2, 3, 4)))
    return tuple(place.tolist())


def test_jpeg_patches_of_a_small_image_come_from_several_regions():
    image = coordinates(16, 40) * 6
    degradation = JPEGDegradation((50, 90), ("4:4:4",))
    patches = RandomPatches(size=16, count=5, degradation=degradation)(
        Example(image, image), np.random.default_rng(0)
    )
    assert [patch.shape for patch in patches["lq"]] == [(16, 16, 3)] * 5
    assert patches["qp"][0] == patches["qp"][1]
    assert len(set(patches["qp"])) > 1


def test_jpeg_on_the_fly_is_jpeg_of_the_region():
    # A 16x16 image leaves one region and one place: the patch is the coded image itself.
    image = coordinates(16, 16) * 15
    patches = RandomPatches(
        size=16, augment=False, degradation=JPEGDegradation((50, 50), ("4:4:4",))
    )(Example(image, image), np.random.default_rng(0))
    np.testing.assert_array_equal(patches["lq"][0], code_as_jpeg(image, 50, "4:4:4")[0])
    np.testing.assert_array_equal(patches["gt"][0], image)


def test_jpeg_of_gray(photo):
    gray = photo[..., :1]
    coded, _ = code_as_jpeg(gray, 40, "4:2:0")
    assert coded.shape == gray.shape
    assert 0 < np.mean(np.abs(coded.astype(float) - gray)) < 10


def test_patches_on_the_coding_grid_carry_the_steps_they_were_coded_with():
    rng = np.random.default_rng(0)
    image = rng.integers(100, 156, (70, 90, 3), np.uint8)  # far from clipping
    patches = RandomPatches(size=32, degradation=JPEGDegradation((30, 30), ("4:4:4",), True))
    found = patches(Example(image, image), rng)
    batch = collate([found])
    # Luma's first row of Annex K times 5000 / 30 percent, rounded.
    np.testing.assert_array_equal(batch["steps"][0, :8], [27, 18, 17, 27, 40, 66, 85, 101])
    assert batch["log2_step"][0] == pytest.approx(np.log2(batch["steps"][0].mean()))
    # The decoded luma's own coefficients are multiples of the steps: blocks start at the corner.
    luma = found["lq"][0] @ np.array([0.299, 0.587, 0.114]) - 128
    spectrum = to_blocks(luma.astype(np.float32)) @ DCT.T
    rest = spectrum / batch["steps"][0] - np.round(spectrum / batch["steps"][0])
    assert np.abs(rest * batch["steps"][0]).mean() < 1.0


def test_the_coarser_of_two_codings_counts():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (48, 48, 3), np.uint8)
    twice = JPEGDegradation((10, 95), ("4:2:0",), True, twice=1.0)
    examples = [twice(image, rng) for _ in range(20)]
    steps = np.array([np.log2(example.steps.mean()) for example in examples])
    labels = np.array([example.log2_step for example in examples])
    assert (labels >= steps - 1e-6).all()
    assert (labels > steps + 0.1).sum() >= 5
    assert all(example.lq.shape == image.shape for example in examples)


def test_steps_are_unknown_off_the_grid():
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (64, 64, 3), np.uint8)
    patches = RandomPatches(size=32, degradation=JPEGDegradation((50, 50), ("4:2:0",)))
    batch = collate([patches(Example(image, image), rng)])
    assert not batch["steps"].any()
    assert batch["log2_step"][0] == pytest.approx(np.log2(57.625))  # the mean of Annex K's luma
