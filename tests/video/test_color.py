"""The conversion between YUV and RGB."""

import av
import clips
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

from armoe_jax.video import yuv
from armoe_jax.video.color import (
    LUMA_WEIGHTS,
    SITINGS,
    ColorSpec,
    downsample_chroma,
    planes_to_rgb,
    rgb_to_planes,
    upsample_chroma,
)
from input_pipeline.codecs.color import rgb_to_yuv420, yuv420_to_rgb


def flat_planes(fmt, *values):
    return tuple(
        np.full(shape, value, fmt.dtype)
        for shape, value in zip(fmt.plane_shapes, values, strict=True)
    )


def smooth_rgb(height, width):
    """Slow colour gradients well inside the RGB cube, so that nothing is clipped or aliased."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    channels = [0.5 + 0.2 * np.sin(2 * x + phase) * np.cos(2 * y + phase) for phase in (0, 1, 2)]
    return np.rint(np.stack(channels, -1) * 65535).astype(np.uint16)


class TestColors:
    @pytest.mark.parametrize(
        ("bits", "full_range", "black", "white", "neutral"),
        [(8, False, 16, 235, 128), (10, False, 64, 940, 512), (8, True, 0, 255, 128)],
    )
    def test_black_and_white(self, bits, full_range, black, white, neutral):
        fmt, spec = yuv.YuvFormat(4, 4, "420", bits), ColorSpec(full_range=full_range)
        for level, luma in ((0, black), (65535, white)):
            rgb = np.full((4, 4, 3), level, np.uint16)
            planes = rgb_to_planes(rgb, fmt, spec)
            expected = flat_planes(fmt, luma, neutral, neutral)
            assert all(np.array_equal(a, b) for a, b in zip(planes, expected, strict=True))
            np.testing.assert_array_equal(planes_to_rgb(planes, fmt, spec), rgb)

    @pytest.mark.parametrize(
        ("matrix", "expected"),
        [
            # Red: Y = 16 + 219 Kr, Cb = 128 + 224 (-Kr) / (2 (1 - Kb)), Cr = 128 + 112 = 240.
            # bt601: 81.48; 128 - 224 * 0.299 / 1.772 = 90.20.
            ("bt601", (81, 90, 240)),
            # bt709: 62.56; 128 - 224 * 0.2126 / 1.8556 = 102.34.
            ("bt709", (63, 102, 240)),
            # bt2020: 73.53; 128 - 224 * 0.2627 / 1.8814 = 96.72.
            ("bt2020", (74, 97, 240)),
        ],
    )
    def test_red(self, matrix, expected):
        fmt = yuv.YuvFormat(2, 2, "444")
        rgb = np.zeros((2, 2, 3), np.uint8)
        rgb[..., 0] = 255
        planes = rgb_to_planes(rgb, fmt, ColorSpec(matrix))
        assert tuple(int(plane[0, 0]) for plane in planes) == expected

    @pytest.mark.parametrize("matrix", sorted(LUMA_WEIGHTS))
    @pytest.mark.parametrize("full_range", [False, True])
    def test_444_comes_back_to_the_sample(self, matrix, full_range):
        """Every RGB of 16 bits maps to one 10-bit YUV that maps back to it within a step."""
        fmt, spec = yuv.YuvFormat(40, 30, "444", 10), ColorSpec(matrix, full_range)
        planes = rgb_to_planes(smooth_rgb(30, 40), fmt, spec)
        again = rgb_to_planes(planes_to_rgb(planes, fmt, spec), fmt, spec)
        assert all(np.array_equal(a, b) for a, b in zip(planes, again, strict=True))

    @pytest.mark.parametrize("siting", sorted(SITINGS))
    @pytest.mark.parametrize("chroma", ["420", "422"])
    @pytest.mark.parametrize("size", [(30, 40), (31, 41)])
    def test_chroma_position_is_kept(self, siting, chroma, size):
        """A ramp through reduction and interpolation stays where it was (away from the edges)."""
        fmt = yuv.YuvFormat(size[1], size[0], chroma)
        y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
        ramp = 2 * y - x
        back = upsample_chroma(downsample_chroma(ramp, fmt, siting), fmt, siting)
        np.testing.assert_allclose(back[8:-8, 8:-8], ramp[8:-8, 8:-8], atol=1e-4)

    def test_siting_moves_samples(self):
        fmt = yuv.YuvFormat(20, 20, "420")
        x = np.tile(np.arange(20, dtype=np.float32), (20, 1))
        # "left" lies at columns 0, 2, 4...; "center" half a pixel to the right.
        np.testing.assert_allclose(downsample_chroma(x, fmt, "left")[5, 3:7], [6, 8, 10, 12])
        np.testing.assert_allclose(
            downsample_chroma(x, fmt, "center")[5, 3:7], [6.5, 8.5, 10.5, 12.5]
        )

    @settings(deadline=None, max_examples=30)
    @given(
        width=st.integers(1, 9),
        height=st.integers(1, 9),
        chroma=st.sampled_from(["400", "420", "422", "444"]),
        bits=st.sampled_from([8, 10, 12]),
    )
    def test_any_size_keeps_flat_colors(self, width, height, chroma, bits):
        fmt, spec = yuv.YuvFormat(width, height, chroma, bits), ColorSpec("bt709")
        values = [100 << (bits - 8), 120 << (bits - 8), 140 << (bits - 8)]
        planes = flat_planes(fmt, *values[: len(fmt.plane_shapes)])
        again = rgb_to_planes(planes_to_rgb(planes, fmt, spec), fmt, spec)
        assert all(np.array_equal(a, b) for a, b in zip(planes, again, strict=True))

    def test_agrees_with_swscale(self):
        """FFmpeg's accurate conversion of 4:4:4, within its own rounding to 8 bits."""
        fmt = yuv.YuvFormat(32, 32, "444")
        planes = rgb_to_planes(smooth_rgb(32, 32), fmt, ColorSpec("bt709"))
        frame = av.VideoFrame(32, 32, "yuv444p")
        for plane, samples in zip(frame.planes, planes, strict=True):
            padded = np.zeros((32, plane.line_size), np.uint8)
            padded[:, :32] = samples
            plane.update(padded.tobytes())
        theirs = frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()
        ours = planes_to_rgb(planes, fmt, ColorSpec("bt709")) / 257
        assert np.abs(theirs - ours).max() <= 2

    def test_gives_networks_what_they_were_trained_on(self):
        """The data builder's conversion differs by roundings alone, if chroma lies the same."""
        image = skimage.data.astronaut()[:128, 160:288]
        samples = rgb_to_yuv420(image, "clean")
        trained_on = yuv420_to_rgb(samples, 128, 128, "clean")
        fmt = yuv.YuvFormat(128, 128)
        planes = yuv.frame_from_bytes(samples, fmt)
        centered = planes_to_rgb(planes, fmt, ColorSpec(siting="center")) / 257
        assert np.abs(centered - trained_on).max() < 4.5
        assert clips.psnr(centered, trained_on, 255) > 58
        left = planes_to_rgb(planes, fmt, ColorSpec(siting="left")) / 257
        assert clips.psnr(left, trained_on, 255) < 52

    def test_refuses_wrong_pictures(self):
        fmt = yuv.YuvFormat(4, 2)
        with pytest.raises(ValueError, match="expected uint8 or uint16"):
            rgb_to_planes(np.zeros((4, 2, 3), np.uint8), fmt, ColorSpec())
        with pytest.raises(ValueError, match="expected uint8 or uint16"):
            rgb_to_planes(np.zeros((2, 4, 3), np.float32), fmt, ColorSpec())

    def test_gray_and_color_mix(self):
        green = np.zeros((2, 4, 3), np.uint8)
        green[..., 1] = 255
        # Luma of green: 16 + 219 * 0.587 = 144.55.
        (luma,) = rgb_to_planes(green, yuv.YuvFormat(4, 2, "400"), ColorSpec())
        assert np.unique(luma).tolist() == [145]
        planes = rgb_to_planes(np.full((2, 4), 255, np.uint8), yuv.YuvFormat(4, 2), ColorSpec())
        assert [np.unique(plane).tolist() for plane in planes] == [[235], [128], [128]]

    def test_refuses_unknown_colors(self):
        with pytest.raises(ValueError, match="colour matrix 'bt1886'"):
            ColorSpec("bt1886")
        with pytest.raises(ValueError, match="chroma siting 'bottom'"):
            ColorSpec(siting="bottom")
