"""PSNR of YUV sequences by VTM's conventions."""

import math

import numpy as np
import pytest

from armoe_jax.metrics import plane_psnr, sequence_psnr, weighted_psnr_611, yuv_psnr


def frame(size, offsets, *, chroma=2, dtype=np.uint8):
    """Y, U, V planes at 100 plus an offset each; chroma reduced by a factor both ways."""
    shapes = [(size, size), (size // chroma,) * 2, (size // chroma,) * 2]
    return [
        np.full(shape, 100 + offset, dtype) for shape, offset in zip(shapes, offsets, strict=True)
    ]


def test_ten_bit_peak():
    # Peak 255 << 2 = 1020: 20 log10(1020) = 60.1720
    plane = np.zeros((4, 4), np.uint16)
    assert plane_psnr(plane + np.uint16(1), plane, bits=10) == pytest.approx(60.1720, abs=5e-5)


def test_known_answers_of_one_frame():
    # Squared errors 4, 1, 1 at 8 bits.
    result = sequence_psnr([frame(8, (2, 1, 1))], [frame(8, (0, 0, 0))], bits=8)
    assert result.y == pytest.approx(42.1102, abs=5e-5)
    assert result.u == result.v == pytest.approx(48.1308, abs=5e-5)
    assert result.yuv == pytest.approx(43.3596, abs=5e-5)
    assert result.weighted_611 == pytest.approx(43.6154, abs=5e-5)


def test_averages_over_frames():
    # Y errors 1 and 4: PSNR averages decibels, YUV-PSNR averages errors:
    # y = (48.1308 + 42.1102) / 2; yuv: mean Y error 2.5, (4 * 2.5 + 1 + 1) / 6 = 2,
    # 10 log10(65025 / 2) = 45.1205.
    frames = [frame(8, (1, 1, 1)), frame(8, (2, 1, 1))]
    result = sequence_psnr(iter(frames), iter([frame(8, (0, 0, 0))] * 2), bits=8)
    assert result.y == pytest.approx(45.1205, abs=5e-5)
    assert result.yuv == pytest.approx(45.1205, abs=5e-5)
    assert len(result.frames) == 2
    assert result.frames[1][0] == pytest.approx(42.1102, abs=5e-5)


def test_weights_follow_the_chroma_format():
    # 4:4:4: equal weights, (4 + 1 + 1) / 3 = 2.
    result = sequence_psnr([frame(4, (2, 1, 1), chroma=1)], [frame(4, (0, 0, 0), chroma=1)], bits=8)
    assert result.yuv == pytest.approx(10 * math.log10(65025 / 2))
    # 4:2:2: Y counts twice as much as each of U and V, (2 * 4 + 1 + 1) / 4 = 2.5.
    assert yuv_psnr((4, 1, 1), (8, 4, 4), bits=8) == pytest.approx(10 * math.log10(65025 / 2.5))


def test_identical_sequences_are_infinite():
    frames = [frame(8, (0, 0, 0))]
    result = sequence_psnr(frames, frames, bits=8)
    assert result.y == result.yuv == result.weighted_611 == math.inf
    assert weighted_psnr_611(40, 48, 48) == 42


def test_bad_sequences_are_refused():
    good = frame(8, (0, 0, 0))
    with pytest.raises(ValueError, match="ends after 1 frames"):
        sequence_psnr([good], [good, good], bits=8)
    with pytest.raises(ValueError, match="no frames"):
        sequence_psnr([], [], bits=8)
    with pytest.raises(ValueError, match="2 planes"):
        sequence_psnr([good[:2]], [good[:2]], bits=8)
    with pytest.raises(ValueError, match=r"\(8, 8\) and \(4, 4\)"):
        plane_psnr(good[0], good[1], bits=8)
    with pytest.raises(TypeError, match="float64"):
        plane_psnr(good[0].astype(float), good[0], bits=8)
    with pytest.raises(ValueError, match="bit depth is 7"):
        plane_psnr(good[0], good[0], bits=7)
