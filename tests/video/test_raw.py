"""Raw files."""

from fractions import Fraction

import av
import clips
import numpy as np
import pytest

from armoe_jax.video import yuv


class TestRawFiles:
    @pytest.mark.parametrize("chroma", ["400", "420", "422", "444"])
    @pytest.mark.parametrize("bits", [8, 10])
    def test_both_kinds_give_back_what_was_written(self, tmp_path, chroma, bits):
        header = yuv.VideoHeader(yuv.YuvFormat(7, 5, chroma, bits), Fraction(30000, 1001))
        frames = [clips.random_planes(header.format, seed) for seed in range(3)]
        for writer, name in ((yuv.YuvWriter, "a.yuv"), (yuv.Y4mWriter, "a.y4m")):
            with writer(tmp_path / name, header) as file:
                for planes in frames:
                    file.write(planes)
        raw = list(yuv.read_yuv(tmp_path / "a.yuv", header.format))
        y4m = list(yuv.read_y4m(tmp_path / "a.y4m"))
        assert yuv.read_y4m_header(tmp_path / "a.y4m").format == header.format
        assert yuv.read_y4m_header(tmp_path / "a.y4m").rate == header.rate
        for expected, *read in zip(frames, raw, y4m, strict=True):
            for planes in read:
                assert all(np.array_equal(a, b) for a, b in zip(expected, planes, strict=True))

    @pytest.mark.parametrize(("chroma", "bits"), [("420", 8), ("422", 10), ("444", 10), ("400", 8)])
    def test_y4m_reads_alike_in_ffmpeg(self, tmp_path, chroma, bits):
        fmt = yuv.YuvFormat(6, 4, chroma, bits)
        header = yuv.VideoHeader(fmt, Fraction(24), "left", full_range=True)
        planes = clips.random_planes(fmt)
        with yuv.Y4mWriter(tmp_path / "a.y4m", header) as file:
            file.write(planes)
        with av.open(str(tmp_path / "a.y4m")) as container:
            (frame,) = container.decode(video=0)
            assert container.streams.video[0].average_rate == 24
        assert frame.format.name.replace("yuvj", "yuv") == fmt.pixel_format
        for plane, expected in zip(frame.planes, planes, strict=True):
            samples = np.frombuffer(plane, fmt.dtype).reshape(expected.shape[0], -1)
            np.testing.assert_array_equal(samples[:, : expected.shape[1]], expected)

    def test_header_fields(self, tmp_path):
        path = tmp_path / "a.y4m"
        path.write_bytes(
            b"YUV4MPEG2 W4 H2 F25:1 Ip A4:3 C420jpeg XYSCSS=420JPEG XCOLORRANGE=FULL\n"
        )
        assert yuv.read_y4m_header(path) == yuv.VideoHeader(
            yuv.YuvFormat(4, 2), Fraction(25), "center", True, Fraction(4, 3)
        )
        assert list(yuv.read_y4m(path)) == []

    @pytest.mark.parametrize(
        ("head", "message"),
        [
            (b"RIFF....\n", "not a YUV4MPEG2 file"),
            (b"YUV4MPEG2 W4\n", "bad YUV4MPEG2 header"),
            (b"YUV4MPEG2 W4 H2 F25:0\n", "bad YUV4MPEG2 header"),
            (b"YUV4MPEG2 W4 H2 F-25:1\n", "not positive"),
            (b"YUV4MPEG2 W4 H2 F25:1 It\n", "interlaced"),
            (b"YUV4MPEG2 W4 H2 F25:1 C411\n", "bad YUV4MPEG2 header"),
            (b"YUV4MPEG2 W99999999 H2 F25:1\n", "bad YUV4MPEG2 header"),
        ],
    )
    def test_refuses_bad_headers(self, tmp_path, head, message):
        (tmp_path / "a.y4m").write_bytes(head)
        with pytest.raises(ValueError, match=message):
            yuv.read_y4m_header(tmp_path / "a.y4m")

    def test_cut_files_are_refused(self, tmp_path):
        fmt = yuv.YuvFormat(4, 2)
        (tmp_path / "a.yuv").write_bytes(bytes(13))
        with pytest.raises(ValueError, match="not a whole number of 4x2 yuv420p frames of 12"):
            yuv.read_yuv(tmp_path / "a.yuv", fmt)
        (tmp_path / "a.y4m").write_bytes(b"YUV4MPEG2 W4 H2 F25:1\nFRAME\n" + bytes(5))
        with pytest.raises(ValueError, match="frame 0 is cut short"):
            list(yuv.read_y4m(tmp_path / "a.y4m"))
        (tmp_path / "b.y4m").write_bytes(b"YUV4MPEG2 W4 H2 F25:1\nFRANE\n" + bytes(12))
        with pytest.raises(ValueError, match="does not begin with a FRAME line"):
            list(yuv.read_y4m(tmp_path / "b.y4m"))

    def test_wrong_planes_are_refused(self, tmp_path):
        fmt = yuv.YuvFormat(4, 2)
        with pytest.raises(ValueError, match="plane shapes"):
            yuv.frame_to_bytes(clips.random_planes(yuv.YuvFormat(4, 4)), fmt)
        with pytest.raises(ValueError, match="11 bytes"):
            yuv.frame_from_bytes(bytes(11), fmt)
