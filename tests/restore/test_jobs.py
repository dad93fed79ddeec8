"""Images on their way through the network; JPEGs with what their files tell: on the grid or not."""

import dataclasses

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from jpeg_parts import cut_out

from armoe_jax.images.jpeg import encode_jpeg
from armoe_jax.models.quality_estimator import ESTIMATORS, PLACE
from armoe_jax.ops.tiling import plan_tiles, plan_whole
from armoe_jax.restore import Restorer
from armoe_jax.restore.jobs import PLACES, Job, on_blocks

# Of one expert: a gate might choose otherwise for a crop than for the whole.
CONFIG = dataclasses.replace(networks.JPEG, experts=("dct",))


@pytest.fixture(scope="module")
def variables(make_variables):
    """Random weights, but an estimator that contradicts no file."""
    variables = make_variables(CONFIG)
    quality = variables["params"]["quality"]
    quality["position"] = jax.tree.map(jnp.zeros_like, quality["position"])
    return variables


@pytest.fixture(scope="module")
def restorer(variables):
    return Restorer(CONFIG, variables)


def photograph(height, width, seed=0):
    """Smooth colours with some noise: nothing clips."""
    rng = np.random.default_rng(seed)
    rows, columns = np.arange(height).reshape(-1, 1, 1), np.arange(width).reshape(-1, 1)
    waves = 40 * np.sin(rows / 9 + np.arange(3)) + 40 * np.cos(columns / 7 - np.arange(3))
    return np.clip(128 + waves + rng.normal(0, 6, waves.shape), 0, 255).astype(np.uint8)


def test_it_is_the_network_told_the_steps(restorer):
    image, coding = encode_jpeg(photograph(24, 32), quality=30)
    got = restorer(image, coding=coding).astype(float)
    steps = coding.luma_table.reshape(1, 64).astype(np.float32)
    y = restorer.apply(jnp.asarray(image[None] / np.float32(255)), steps=jnp.asarray(steps))[0]
    # The restorer starts from the luma of the coefficients, where the decoder rounds.
    assert np.abs(got - np.clip(255 * np.asarray(y), 0, 255)).max() < 4
    assert np.abs(got - np.clip(255 * np.asarray(y), 0, 255)).mean() < 0.7
    blind = restorer(image).astype(float)
    assert np.abs(got - blind).mean() > 1


@pytest.mark.parametrize(("height", "width"), [(16, 24), (13, 18), (3, 1)])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_crops_of_any_size_keep_their_shape(restorer, height, width, channels):
    whole = photograph(24, 40)[..., 0] if channels == () else photograph(24, 40)
    image, coding = encode_jpeg(whole, quality=20)
    top, left = (24 - height) // 2 + 1 if height < 16 else 0, 5
    part = image[top : top + height, left : left + width]
    got = restorer(part, coding=cut_out(coding, top, left, height, width))
    assert (got.shape, got.dtype) == (part.shape, np.uint8)


@pytest.mark.parametrize("orientation", [3, 6])
def test_turned_images_keep_their_shape(restorer, orientation):
    image, coding = encode_jpeg(photograph(13, 18), quality=20)
    turned = {3: lambda x: x[::-1, ::-1], 6: lambda x: x.swapaxes(0, 1)[:, ::-1]}[orientation]
    image = np.ascontiguousarray(turned(image))
    got = restorer(image, coding=coding.turned(orientation))
    assert got.shape == image.shape
    assert np.abs(got.astype(float) - image).mean() < 40


def test_a_crop_is_restored_as_in_its_blocks(restorer):
    """What a crop is padded with is its own mirror image, but the luma of the blocks is known."""
    image, coding = encode_jpeg(photograph(24, 40)[..., 0], quality=30)
    whole = restorer(image, coding=coding)[2:19, 3:29]
    got = restorer(image[2:19, 3:29], coding=cut_out(coding, 2, 3, 17, 26))
    # Gray: pixels around the crop are known exactly; all but what lies beyond its last blocks.
    inner = np.abs(got.astype(int) - whole)[:12, :20]
    assert inner.max() <= 1


def test_tiles_on_the_grid_equal_the_whole(variables, restorer):
    image, coding = encode_jpeg(photograph(64, 72), quality=30)
    whole = restorer(image, coding=coding).astype(int)
    tiled = Restorer(CONFIG, variables, tile=32, overlap=16)
    difference = np.abs(tiled(image, coding=coding).astype(int) - whole)
    assert difference.mean() < 0.3
    # The second tile starts within the overlap; before it there is but the first.
    assert difference[:12, :12].max() <= 1


def test_networks_without_the_head_do_not_look(make_variables):
    config = dataclasses.replace(CONFIG, interval_head=False)
    blind = Restorer(config, make_variables(config))
    image, coding = encode_jpeg(photograph(8, 10), quality=20)
    np.testing.assert_array_equal(blind(image, coding=coding), blind(image))


def test_the_coding_of_another_image_is_refused(restorer):
    image, coding = encode_jpeg(photograph(16, 16), quality=20)
    with pytest.raises(
        ValueError, match=r"coding is that of a uint8 or uint16 image of shape \(16, 16\)"
    ):
        restorer(image[:8], coding=coding)
    with pytest.raises(ValueError, match="the image is float32"):
        restorer(image / np.float32(255), coding=coding)


def test_pictures_of_16_bits_are_restored_as_those_of_8(restorer):
    image, coding = encode_jpeg(photograph(16, 24), quality=20)
    expected = restorer(image, coding=coding).astype(float)
    got = restorer(image * np.uint16(257), coding=coding)
    assert got.dtype == np.uint16
    assert np.abs(got / 257 - expected).max() <= 0.51


def test_what_pixels_tell_of_blocks_that_are_cut_is_no_luma(restorer):
    """Blocks found in pixels are mirrored at the image's edge: their integers are made up."""
    whole, coding = encode_jpeg(photograph(27, 45), quality=30)
    coding = dataclasses.replace(coding, certain=np.zeros_like(coding.certain))  # as from pixels
    image, coding = whole[3:, 5:], cut_out(coding, 3, 5, 24, 40)
    luma = coding.luma.copy()
    luma[0, :, 0, 0] += 99
    made_up = dataclasses.replace(coding, luma=luma)
    assert not made_up.inside[0].any()
    np.testing.assert_array_equal(restorer(image, coding=made_up), restorer(image, coding=coding))
    inner = dataclasses.replace(coding, luma=np.where(coding.inside[..., None, None], 99, luma))
    assert (restorer(image, coding=inner) != restorer(image, coding=coding)).any()


@pytest.mark.parametrize("size", [(64, 64), (72, 100), (300, 9)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_places_look_to_an_estimator_like_the_image(size, dtype):
    image = photograph(*size)
    image[: size[0] // 2] //= 8  # places that differ
    image = image if dtype == np.uint8 else image.astype(dtype) / 255
    estimator = ESTIMATORS["attention"]((17.0, 42.0))
    places = Job(image, 0, plan_tiles(*size, 32, 16), 3, 1).places(0)
    assert places.shape == (PLACES * PLACE, PLACES * PLACE, 3)
    variables = estimator.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    seen = image.astype(np.float32) / (255 if dtype == np.uint8 else 1)
    seen = np.pad(seen, [(0, 0), (0, max(PLACE - size[1], 0)), (0, 0)], mode="edge")
    want, got, other = (
        np.asarray(estimator.apply(variables, jnp.asarray(x[None])))[0]
        for x in (seen, places, seen[-16:])
    )
    # Places recur equally often, or differ by one in their count.
    np.testing.assert_allclose(got, want, atol=1e-4 if size == (64, 64) else 0.02)
    assert abs(other - want) > 0.1


def test_places_of_a_large_image_are_spread_over_all_of_it():
    height, width = 1024, 2048  # twice as many places as are asked: each second
    column = np.broadcast_to(np.arange(width, dtype=np.uint16) // PLACE, (height, width))
    seen = Job(column, 0, plan_tiles(height, width, 512, 16), 1, 1).places(0)[::PLACE, ::PLACE, 0]
    want = np.tile(np.arange(0, width // PLACE, 2), 64).reshape(PLACES, PLACES)
    np.testing.assert_array_equal(np.rint(seen * 65535), want)


def test_overview_averages_squares():
    image = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)
    job = Job(image, 0, plan_tiles(32, 32, 16, 4), 1, 1)
    small = job.overview(0)
    assert small.shape == (16, 16, 1)
    # The first square holds 0, 1, 32, 33: mean 16.5.
    assert small[0, 0, 0] == pytest.approx(16.5 / 65535)


def test_what_the_network_sees_of_gray_and_rgb():
    gray = np.array([[0, 51], [102, 255]], np.uint8)
    job = Job(gray, 0, plan_whole(2, 2), 3, 1)
    seen = job.pixels(0, 0, 0)
    assert (seen.shape, seen.dtype, job.num_planes) == ((2, 2, 3), np.float32, 1)
    np.testing.assert_allclose(seen, np.repeat(gray[..., None] / 255, 3, axis=2), rtol=1e-6)
    # The mean over channels comes back, as an image of two axes.
    (tile,) = job.tiles()
    job.add(tile, np.stack([gray / 255 - 0.1, gray / 255, gray / 255 + 0.1], -1))
    assert job.finished
    np.testing.assert_array_equal(job.result(), gray)
    # RGB through a gray network: plane by plane.
    rgb = np.stack([gray, gray.T, 255 - gray], -1)
    job = Job(rgb, 7, plan_whole(2, 2), 1, 1)
    tiles = list(job.tiles())
    assert [(tile.plane, tile.number, tile.shape) for tile in tiles] == [
        (plane, plane, (2, 2)) for plane in range(3)
    ]
    for tile in tiles[::-1]:
        job.add(tile, job.pixels(tile.row, tile.column, tile.plane))
    np.testing.assert_array_equal(job.result(), rgb)


def test_outputs_that_are_not_finite_are_refused():
    job = Job(np.zeros((2, 2, 3), np.uint8), 0, plan_whole(2, 2), 3, 1)
    (tile,) = job.tiles()
    with pytest.raises(ValueError, match="values that are not finite; check the checkpoint"):
        job.add(tile, np.full((2, 2, 3), np.nan, np.float32))


def test_luma_is_exact_on_blocks():
    image, coding = encode_jpeg(photograph(13, 18), quality=30)
    placed = on_blocks(image, coding)
    assert (placed.shape, placed.dtype) == ((16, 24, 3), np.float32)
    luma = placed @ np.array([0.299, 0.587, 0.114], np.float32) * 255 - 128
    # All blocks are certain, so those that reach beyond the image count too.
    np.testing.assert_allclose(luma, coding.block_luma(), atol=1e-3)
    # The colour differences stay as decoded.
    change = placed[:13, :18] - image / np.float32(255)
    np.testing.assert_allclose(change, change[..., :1].repeat(3, axis=2), atol=1e-6)
