"""Luma coefficients recovered by decoding under other tables."""

import numpy as np
import pytest
from made_jpegs import FILES, INTEGERS, jpeg, luma_of, picture, read
from PIL import features
from scipy.fft import dctn


@pytest.mark.parametrize("name", INTEGERS.files)
def test_the_integers_are_those_that_libjpeg_reads(name):
    if "arithmetic" in name and not features.check("libjpeg_turbo"):
        pytest.skip("arithmetic coding needs libjpeg-turbo")
    coding = read((FILES / f"{name}.jpg").read_bytes())
    np.testing.assert_array_equal(coding.luma, INTEGERS[name])
    assert coding.size == (45, 53)
    kind = "gray" if name == "gray" else ":".join(name[-3:])
    assert coding.subsampling == kind
    assert coding.certain.mean() > 0.8


@pytest.mark.parametrize("quality", [5, 30, 50, 75, 92, 100])
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_coefficients_decode_to_the_luma_of_the_file(quality, gray, progressive):
    pixels = picture(35, 61)
    data = jpeg(pixels[..., 0] if gray else pixels, quality=quality, progressive=progressive)
    luma = read(data).decoded_luma()
    assert luma.dtype == np.float32
    # Half a level of rounding, and the integer transform of the decoder.
    np.testing.assert_allclose(np.clip(luma, -128, 127), luma_of(data), atol=0.6)


@pytest.mark.parametrize("quality", [10, 50, 77])
def test_integers_of_a_gray_image_by_definition(quality):
    """Quantises the DCT of the pixels; values near a half may go either way in the encoder."""
    pixels = picture(32, 40)[..., 0]
    coding = read(jpeg(pixels, quality=quality))
    blocks = pixels.reshape(4, 8, 5, 8).swapaxes(1, 2) - 128.0
    exact = dctn(blocks, axes=(2, 3), norm="ortho") / coding.luma_table
    assert np.abs(coding.luma - exact).max() < 0.55
    assert (coding.luma == np.rint(exact)).mean() > 0.99
    assert coding.certain.all()


def test_flat_blocks_keep_their_mean():
    """Steps of 3 are finer than pixels; 48 levels about the middle are told apart all the same."""
    levels = np.arange(100, 148, dtype=np.uint8)
    coding = read(jpeg(np.repeat(np.repeat(levels[None], 8, 0), 8, 1), quality=90))
    assert coding.luma_table[0, 0] == 3
    # A flat block's coefficient is 8 times its level: round(8 (level - 128) / 3).
    expected = np.rint(8 * (levels - 128.0) / 3)
    np.testing.assert_array_equal(coding.luma[0, :, 0, 0], expected)
    assert coding.certain[0, np.abs(expected) < 127].all()


def test_a_mean_that_no_pixel_tells_is_in_doubt_and_within_half_a_level():
    """Levels from -128 on make coefficients from -341, of which each pixel value fits three."""
    levels = np.arange(0, 60, 4, dtype=np.uint8)
    data = jpeg(np.repeat(np.repeat(levels[None], 8, 0), 8, 1), quality=90)
    coding = read(data)
    assert not coding.certain.any()
    np.testing.assert_allclose(coding.decoded_luma(), luma_of(data), atol=0.6)
