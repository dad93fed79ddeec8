"""Frames of PyAV as planes: layouts, depths, and what cannot be handled."""

from pathlib import Path

import av
import clips
import numpy as np
import pytest

from armoe_jax.video import yuv
from armoe_jax.video.frames import frame_format, frame_from_planes, planes_of, rgb_of

PATH = Path("in.mkv")


@pytest.mark.parametrize("chroma", ["400", "420", "422", "444"])
@pytest.mark.parametrize("bits", [8, 10])
def test_planes_come_back(chroma, bits):
    # Odd sides: chroma is rounded up, and lines of frames are padded.
    fmt = yuv.YuvFormat(17, 5, chroma, bits)
    planes = clips.random_planes(fmt)
    frame = frame_from_planes(planes, fmt)
    assert frame_format(frame, PATH) == (fmt, False)
    back = planes_of(frame, fmt)
    for one, two in zip(back, planes, strict=True):
        assert one.dtype == fmt.dtype
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("layout", "bits"), [("nv12", 8), ("yuv420p10be", 10), ("yuvj420p", 8)])
def test_other_layouts_of_the_same_samples_are_rearranged(layout, bits):
    fmt = yuv.YuvFormat(16, 4, "420", bits)
    planes = clips.random_planes(fmt)
    frame = frame_from_planes(planes, fmt)
    if layout == "yuvj420p":  # the same samples under an old name
        other = av.VideoFrame(16, 4, layout)
        for plane, samples in zip(other.planes, frame.planes, strict=True):
            plane.update(bytes(samples))
    else:
        other = frame.reformat(format=layout)
    assert frame_format(other, PATH) == (fmt, False)
    for one, two in zip(planes_of(other, fmt), planes, strict=True):
        np.testing.assert_array_equal(one, two)


def test_rgb_is_scaled_to_16_bits():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    pixels[0, :2] = [[0, 1, 2], [255, 254, 128]]
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    fmt, is_rgb = frame_format(frame, PATH)
    assert (fmt, is_rgb) == (yuv.YuvFormat(6, 4, "444", 8), True)
    # 65535 / 255 = 257, for every level.
    np.testing.assert_array_equal(rgb_of(frame, fmt), pixels * np.uint16(257))
    deep = np.random.default_rng(1).integers(0, 65536, (4, 6, 3), np.uint16)
    frame = av.VideoFrame.from_ndarray(deep, format="rgb48le")
    fmt, is_rgb = frame_format(frame, PATH)
    assert (fmt.bits, is_rgb) == (16, True)
    np.testing.assert_array_equal(rgb_of(frame, fmt), deep)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("yuva420p", r"in\.mkv: transparent video \(yuva420p\); flatten it first"),
        ("rgba", "transparent video"),
        ("yuv411p", "chroma sampling of yuv411p is not supported; convert it"),
        ("yuv440p", "chroma sampling of yuv440p"),
    ],
)
def test_layouts_that_are_no_planar_yuv_or_rgb(layout, message):
    with pytest.raises(ValueError, match=message):
        frame_format(av.VideoFrame(16, 16, layout), PATH)
