import numpy as np
import pytest

from input_pipeline.codecs.base import CodecError
from input_pipeline.codecs.color import (
    pad_to_even,
    rgb_to_yuv420,
    round_10_to_8_bit,
    yuv420_to_rgb,
)


def gray_steps() -> np.ndarray:
    """Columns of the grays 0, 17, 34, ..., 255, each 8 pixels wide."""
    return (
        np.repeat(np.arange(16, dtype=np.uint8) * 17, 8)[None, :, None].repeat(16, 0).repeat(3, 2)
    )


def test_gray_becomes_limited_range_luma():
    planes = np.frombuffer(rgb_to_yuv420(gray_steps(), "clean"), np.uint8)
    luma = planes[: 16 * 128].reshape(16, 128)[0, 4::8]
    # Y = 16 + 219 / 255 * gray: 0 -> 16, 17 -> 30.6, 34 -> 45.2, ..., 255 -> 235.
    np.testing.assert_array_equal(luma, np.round(16 + 219 / 255 * 17 * np.arange(16)))
    assert set(planes[16 * 128 :]) == {128}


def test_clean_colors_have_no_bias_and_paper_colors_are_darker():
    image = gray_steps()
    height, width = image.shape[:2]
    error = {}
    for colors in ("clean", "paper"):
        planes = rgb_to_yuv420(image, colors)
        back = yuv420_to_rgb(planes, height, width, colors)
        error[colors] = float(np.mean(back.astype(float) - image))
    assert abs(error["clean"]) < 0.3
    assert error["paper"] < error["clean"] - 0.3  # how much depends on the CPU


def test_pad_to_even_repeats_the_edge():
    image = np.arange(9, dtype=np.uint8).reshape(3, 3, 1).repeat(3, 2)
    expected = [[0, 1, 2, 2], [3, 4, 5, 5], [6, 7, 8, 8], [6, 7, 8, 8]]
    np.testing.assert_array_equal(pad_to_even(image)[..., 0], expected)
    even = image[:2, :2]
    assert pad_to_even(even) is even


def test_rounding_to_8_bits():
    # (v + 2) >> 2, at most 255: 1 -> 0, 2 -> 1, 5 -> 1, 6 -> 2, 1021 -> 255, 1022 -> 256 -> 255
    samples = np.array([0, 1, 2, 5, 6, 1021, 1022, 1023], "<u2")
    assert list(round_10_to_8_bit(samples.tobytes())) == [0, 0, 1, 1, 2, 255, 255, 255]


def test_wrong_number_of_bytes():
    with pytest.raises(CodecError, match="got 5 bytes, expected 6"):
        yuv420_to_rgb(b"12345", 2, 2, "clean")
