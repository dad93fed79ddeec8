"""Estimators of how strongly an image was coded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.fft import dctn

from armoe_jax.models.quality_estimator import BLOCK, ESTIMATORS, VOTES, WIDTH, block_dct

RANGE = (17.0, 42.0)


def make(kind, channels=3):
    """An estimator with random weights, as a function of images."""
    module = ESTIMATORS[kind](RANGE)
    variables = module.init(jax.random.key(0), jnp.zeros((1, 16, 16, channels)))
    return lambda x: np.asarray(module.apply(variables, jnp.asarray(x, jnp.float32)))


@pytest.fixture(scope="module", params=ESTIMATORS)
def estimate(request):
    return make(request.param)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def test_block_dct_is_scipys_of_each_whole_block():
    image = noise(2, 19, 24)
    got = block_dct(jnp.asarray(image))
    assert got.shape == (2, 2, 3, BLOCK**2)
    block = image[1, 8:16, 16:24]
    want = np.asarray(dctn(block, norm="ortho")).reshape(-1)
    np.testing.assert_allclose(got[1, 1, 2], want, atol=1e-5)


def test_a_block_that_is_not_whole_is_padded_by_its_edge():
    image = noise(1, 3, 8)
    padded = np.pad(image, ((0, 0), (0, 5), (0, 0)), mode="edge")
    np.testing.assert_allclose(
        block_dct(jnp.asarray(image)), block_dct(jnp.asarray(padded)), atol=1e-6
    )


@pytest.mark.parametrize("size", [(1, 2), (7, 6), (9, 8), (16, 30)])
def test_estimates_images_of_any_size(estimate, size):
    result = estimate(noise(3, *size, 3))
    assert result.shape == (3,)
    assert np.isfinite(result).all()


def test_estimates_each_image_by_itself_and_as_a_whole(estimate):
    images = noise(2, 32, 32, 3)
    each = np.concatenate([estimate(image[None]) for image in images])
    np.testing.assert_allclose(estimate(images), each, rtol=1e-5)
    # The mean over blocks does not change when the image is repeated.
    np.testing.assert_allclose(estimate(np.tile(images, (1, 2, 3, 1))), each, rtol=1e-4)
    assert abs(each[0] - each[1]) > 1e-4


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_estimates_gray_images_like_gray_rgb_images(kind):
    gray = noise(1, 16, 16, 1)
    module = ESTIMATORS[kind](RANGE)
    variables = module.init(jax.random.key(0), jnp.asarray(gray))
    alone = module.apply(variables, jnp.asarray(gray))
    as_rgb = module.apply(variables, jnp.asarray(np.repeat(gray, 3, axis=-1)))
    np.testing.assert_allclose(alone, as_rgb, rtol=1e-4)


def test_pixels_beyond_the_last_whole_place_do_not_matter_to_attention():
    image = noise(1, 40, 37, 3)
    estimate = make("attention")
    np.testing.assert_array_equal(estimate(image), estimate(image[:, :32, :32]))


def test_attention_asks_the_places_that_it_votes_for():
    """Two places, told apart by one feature: the votes decide whose features count."""
    module = ESTIMATORS["attention"](RANGE)
    params = module.init(jax.random.key(0), jnp.zeros((1, 16, 32, 3)))["params"]
    image = np.full((1, 16, 32, 3), 0.5, np.float32)
    image[:, :, 16:] = noise(1, 16, 16, 3)

    def estimate(image, vote):
        changed = {}
        # Feature 0 of a place is the sum of its magnitudes, the only one that is voted by and read.
        for name in ("fine", "coarse", "cb", "cr", "join", "place", "votes", "image", "position"):
            kernel = np.zeros(params[name]["kernel"].shape, np.float32)
            kernel[0, 0, ..., 0] = 1.0
            changed[name] = {"kernel": kernel, "bias": np.zeros(kernel.shape[-1], np.float32)}
        changed["votes"]["kernel"][0, 0, 0, 0] = vote
        changed["image"]["kernel"][0, 0, :, 0] = 0.0
        changed["image"]["kernel"][0, 0, WIDTH, 0] = 1.0
        changed["image"]["bias"][0] = 100.0  # away from the kink of its LeakyReLU
        assert changed["image"]["kernel"].shape == (1, 1, WIDTH + VOTES, WIDTH)
        variables = {"params": jax.tree.map(jnp.asarray, changed)}
        return float(module.apply(variables, jnp.asarray(image))[0])

    smooth, rough = (estimate(image[:, :, i : i + 16], 0.0) for i in (0, 16))
    assert rough > smooth + 100
    assert estimate(image, 0.0) == pytest.approx((smooth + rough) / 2, rel=1e-4)
    assert estimate(image, 1.0) == pytest.approx(rough, rel=1e-3)
    assert estimate(image, -1.0) == pytest.approx(smooth, rel=1e-3)
