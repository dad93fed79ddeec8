"""PSNR of sequences of YUV pictures, coded and restored."""

from fractions import Fraction

import numpy as np
import pytest

from armoe_jax.evaluation.sequences import (
    evaluate_sequences,
    pairs_of_sequences,
    sequence_table,
)
from armoe_jax.video import VideoOptions, yuv

FMT = yuv.YuvFormat(8, 8, "444")


def write(path, *levels, fmt=FMT):
    """Writes a frame of flat planes for each triple of levels."""
    header = yuv.VideoHeader(fmt, Fraction(25))
    writer = yuv.Y4mWriter if path.suffix == ".y4m" else yuv.YuvWriter
    with writer(path, header) as file:
        for triple in levels:
            pairs = zip(fmt.plane_shapes, triple, strict=True)
            file.write(tuple(np.full(shape, level, fmt.dtype) for shape, level in pairs))
    return path


def keep(picture):
    return picture


def brighten(picture):
    """One step of luma at 8 bits and limited range, in units of 16 bits."""
    return picture + np.uint16(round(65535 / 219))


def test_known_answers(tmp_path):
    """Errors of the coded sequence: Y 1, U 2, V 2 levels; brightening undoes that of luma."""
    write(tmp_path / "a.y4m", (101, 128, 128), (101, 128, 128))
    write(tmp_path / "b.y4m", (100, 130, 126), (100, 130, 126))
    pair = (tmp_path / "a.y4m", tmp_path / "b.y4m")
    record = evaluate_sequences(brighten, [pair], VideoOptions()).to_dict()
    # 10 log10(255^2 / 1) = 48.1308; of squared errors of 4: 42.1102.
    assert record["lq_psnr_y"] == pytest.approx(48.1308, abs=5e-5)
    assert record["lq_psnr_u"] == record["lq_psnr_v"] == pytest.approx(42.1102, abs=5e-5)
    # (6 * 48.1308 + 2 * 42.1102) / 8
    assert record["lq_psnr_weighted_611"] == pytest.approx(46.62565, abs=5e-5)
    # 4:4:4: mean squared error (1 + 4 + 4) / 3 = 3, 10 log10(65025 / 3)
    assert record["lq_psnr_yuv"] == pytest.approx(43.3596, abs=5e-5)
    assert record["psnr_y"] is None  # infinite: luma is restored exactly
    assert record["psnr_u"] == record["lq_psnr_u"]
    (row,) = record["sequences"]
    assert (row["name"], row["num_frames"]) == ("a", 2)


def test_mean_over_sequences(tmp_path):
    for name in ("gt", "lq"):
        (tmp_path / name).mkdir()
    for stem, error in (("one", 1), ("two", 2)):
        write(tmp_path / "gt" / f"{stem}.y4m", (100, 128, 128))
        write(tmp_path / "lq" / f"{stem}.y4m", (100 + error, 129, 129))
    pairs = pairs_of_sequences(tmp_path / "gt", tmp_path / "lq")
    evaluation = evaluate_sequences(keep, pairs, VideoOptions())
    assert len(evaluation.sequences) == 2
    assert evaluation.means["psnr_y"] == pytest.approx((48.1308 + 42.1102) / 2, abs=5e-5)
    table = sequence_table(evaluation).splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == ["one", "two", "mean"]
    assert table[-1].split("|")[2:4] == [" 45.121 ", " +0.000 "]


def test_headerless_files_of_ten_bits(tmp_path):
    fmt = yuv.YuvFormat(8, 8, "420", 10)
    write(tmp_path / "a.yuv", (400, 512, 512), fmt=fmt)
    write(tmp_path / "b.yuv", (404, 512, 512), fmt=fmt)
    options = VideoOptions(yuv_size=(8, 8), yuv_format="yuv420p10le")
    means = evaluate_sequences(keep, [(tmp_path / "a.yuv", tmp_path / "b.yuv")], options).means
    # An error of 4 at peak 1020 is one of 1 at 255.
    assert means["psnr_y"] == pytest.approx(48.1308, abs=5e-5)
    # The original may state its format itself.
    write(tmp_path / "a.y4m", (400, 512, 512), fmt=fmt)
    again = evaluate_sequences(keep, [(tmp_path / "a.y4m", tmp_path / "b.yuv")], options)
    assert again.means == means


def test_refusals(tmp_path):
    one = write(tmp_path / "one.y4m", (100, 128, 128))
    two = write(tmp_path / "two.y4m", (100, 128, 128), (100, 128, 128))
    other = write(tmp_path / "other.y4m", (100, 128, 128), fmt=yuv.YuvFormat(8, 8, "444", 10))
    with pytest.raises(ValueError, match=r"one\.y4m: the sequences differ in length"):
        evaluate_sequences(keep, [(two, one)], VideoOptions())
    with pytest.raises(ValueError, match="8x8 yuv444p10le, but the original"):
        evaluate_sequences(keep, [(one, other)], VideoOptions())
    with pytest.raises(ValueError, match="no pairs"):
        evaluate_sequences(keep, [], VideoOptions())
    with pytest.raises(ValueError, match="one is a folder"):
        pairs_of_sequences(tmp_path, one)
