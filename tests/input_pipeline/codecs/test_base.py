"""What every codec takes, checked before an encoder is started."""

import numpy as np
import pytest

from input_pipeline.codecs.base import Codec, CodecError, CodecOptions, CodedImage


class Inverting(Codec):
    """Stores the negative, in twelve bytes of header and one a sample."""

    name = "inverting"
    suffix = ".inv"
    quality_range = (1, 5)
    presets = ("fast", "slow")
    default_preset = "slow"
    loop_filters = ("blur",)
    takes = ("lambda_modifier",)
    min_side = 4
    version = "inverting 1"

    def encode(self, image, quality):
        return bytes(12) + (255 - image).tobytes()

    def decode(self, bitstream, height, width):
        return 255 - np.frombuffer(bitstream[12:], np.uint8).reshape(height, width, 3)


IMAGE = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)


def test_an_image_is_encoded_and_decoded():
    coded = Inverting(CodecOptions()).code(IMAGE, 3)
    np.testing.assert_array_equal(coded.image, IMAGE)
    # 12 + 4 * 6 * 3 = 84 bytes; 672 bits on 24 pixels.
    assert (coded.bits, coded.bits_per_pixel) == (672, 28.0)
    assert CodedImage(b"ab", IMAGE).bits == 16


def test_settings_fill_in_defaults_and_are_in_order():
    codec = Inverting(CodecOptions(disabled_filters=("blur", "blur")))
    expected = {"preset": "slow", "subsampling": "4:2:0", "disabled_filters": ["blur"]}
    assert codec.settings == expected
    assert Inverting(CodecOptions(preset="fast")).settings["preset"] == "fast"


@pytest.mark.parametrize("quality", [0, 6])
def test_qualities_beyond_the_range(quality):
    with pytest.raises(ValueError, match=f"qp {quality} is not one of codec inverting: 1 to 5"):
        Inverting(CodecOptions()).code(IMAGE, quality)


def test_an_image_that_is_too_small_is_no_error_of_usage():
    with pytest.raises(CodecError, match=r"image of 6x3 is too small .* at least 4 pixels"):
        Inverting(CodecOptions()).code(IMAGE[:3], 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "best"}, "preset 'best' is not one of codec inverting: 'fast', 'slow'"),
        ({"subsampling": "4:4:4"}, "subsampling '4:4:4' .*: '4:2:0'"),
        ({"disabled_filters": ("sao",)}, "loop filter 'sao' .*: 'blur'"),
        ({"encoder": "x"}, "codec inverting has no option encoder; leave it out"),
        ({"colors": ""}, "colors '' .*: 'clean', 'paper'"),
    ],
)
def test_options_that_it_does_not_take(options, message):
    with pytest.raises(ValueError, match=message):
        Inverting(CodecOptions(**options))
    Inverting(CodecOptions(lambda_modifier=0.5))
