"""What all codecs of 4:2:0 pictures share."""

import numpy as np
import pytest

from input_pipeline.codecs.base import CodecError, CodecOptions
from input_pipeline.codecs.video import VideoCodec


class Planes(VideoCodec):
    """Stores the planes as they are, and notes the sizes that it is asked for."""

    name = "planes"
    suffix = ".yuv"
    quality_range = (0, 1)
    version = "planes 1"

    def __init__(self):
        super().__init__(CodecOptions())
        self.sizes = []

    def encode_planes(self, planes, height, width, quality):
        self.sizes.append((height, width, len(planes)))
        return planes

    def decode_planes(self, bitstream, height, width):
        self.sizes.append((height, width, len(bitstream)))
        return bitstream


def test_odd_sides_are_padded_before_and_cropped_after():
    codec = Planes()
    image = np.full((5, 7, 3), (200, 60, 30), np.uint8)
    coded = codec.code(image, 0)
    # 6 x 8 samples of luma and twice 3 x 4 of chroma.
    assert codec.sizes == [(6, 8, 72)] * 2
    assert coded.image.shape == (5, 7, 3)
    assert coded.image.flags.c_contiguous
    np.testing.assert_allclose(coded.image.astype(int), image, atol=3)
    assert codec.settings["odd_sizes"] == "padded by the edge, cropped after decoding"


def test_nothing_and_too_little_are_no_bitstream():
    with pytest.raises(CodecError, match="bitstream of codec planes is empty"):
        Planes().decode(b"", 4, 4)
    with pytest.raises(CodecError, match="got 23 bytes, expected 24"):
        Planes().decode(bytes(23), 4, 4)
