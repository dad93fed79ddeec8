"""Restoring videos: real containers and codecs, frame times, colours, interruption."""

import subprocess
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np
import pytest
from clips import FFV1, frame_psnr, keep, pictures, psnr, read_clip, sound_packets, write_clip

from armoe_jax.video import VideoOptions, restore_video, yuv
from armoe_jax.video.color import ColorSpec, rgb_to_planes


class TestCarriedOver:
    def test_times_and_sound_in_mp4(self, clip, tmp_path):
        summary = restore_video(clip, tmp_path / "out.mp4", keep, progress=False)
        assert summary.num_frames == 6
        assert summary.num_copied_streams == 1
        assert read_clip(tmp_path / "out.mp4")[1] == read_clip(clip)[1]
        assert read_clip(clip)[1] == [Fraction(t, 30000) for t in (0, 1001, 2002, 5005, 6006, 9009)]
        assert sound_packets(tmp_path / "out.mp4") == sound_packets(clip)

    @pytest.mark.parametrize("codec", ["ffv1", "libx264"])
    def test_times_and_sound_in_matroska(self, clip, tmp_path, codec):
        """Matroska counts milliseconds; sound that starts before zero does not shift the film."""
        options = VideoOptions(codec=codec)
        restore_video(clip, tmp_path / "out.mkv", keep, options=options, progress=False)
        times = read_clip(tmp_path / "out.mkv")[1]
        np.testing.assert_allclose(
            [float(t) for t in times], [float(t) for t in read_clip(clip)[1]], atol=6e-4
        )
        ours, theirs = sound_packets(tmp_path / "out.mkv"), sound_packets(clip)
        assert [data for data, _ in ours] == [data for data, _ in theirs]
        np.testing.assert_allclose([t for _, t in ours], [t for _, t in theirs], atol=6e-4)

    def test_tags_and_samples(self, clip, tmp_path):
        restore_video(clip, tmp_path / "out.mkv", keep, options=FFV1, progress=False)
        expected, _, source = read_clip(clip)
        frames, _, frame = read_clip(tmp_path / "out.mkv")
        for name in ("colorspace", "color_primaries", "color_trc", "color_range"):
            assert getattr(frame, name) == getattr(source, name) == 1
        assert frame.format.name == "yuv420p"
        # Only chroma filtering and clipping to the RGB cube lie between.
        assert min(frame_psnr(a, b, 255) for a, b in zip(frames, expected, strict=True)) > 48

    @pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv444p10le", "gray10le"])
    def test_without_chroma_filtering_samples_are_equal(self, tmp_path, pixel_format):
        source = write_clip(tmp_path / "in.mkv", codec="ffv1", pixel_format=pixel_format)
        restore_video(source, tmp_path / "out.mkv", keep, options=FFV1, progress=False)
        assert read_clip(tmp_path / "out.mkv")[2].format.name == pixel_format
        for ours, theirs in zip(
            read_clip(tmp_path / "out.mkv")[0], read_clip(source)[0], strict=True
        ):
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize("pixel_format", ["yuv422p", "yuv420p10le", "yuv422p10le"])
    def test_formats_through_x264(self, tmp_path, pixel_format):
        source = write_clip(tmp_path / "in.mp4", pixel_format=pixel_format, audio=False)
        restore_video(source, tmp_path / "out.mp4", keep, progress=False)
        frames, _, frame = read_clip(tmp_path / "out.mp4")
        assert frame.format.name == pixel_format
        peak = 2 ** frame.format.components[0].bits - 1
        pairs = zip(frames, read_clip(source)[0], strict=True)
        assert min(frame_psnr(a, b, peak) for a, b in pairs) > 40

    def test_rotation(self, tmp_path):
        source = write_clip(tmp_path / "in.mp4", rotation=90, audio=False)
        restore_video(source, tmp_path / "out.mp4", keep, progress=False)
        assert read_clip(tmp_path / "out.mp4")[2].rotation == read_clip(source)[2].rotation == 90

    def test_full_range(self, tmp_path):
        source = write_clip(tmp_path / "in.mp4", color_range=2, audio=False)
        summary = restore_video(source, tmp_path / "out.mp4", keep, progress=False)
        assert "full range" in summary.colors
        assert read_clip(tmp_path / "out.mp4")[2].color_range == 2

    def test_no_audio(self, clip, tmp_path):
        options = VideoOptions(audio=False)
        restore_video(clip, tmp_path / "out.webm", keep, options=options, progress=False)
        with av.open(str(tmp_path / "out.webm")) as container:
            assert not container.streams.audio
            assert container.streams.video[0].codec_context.name == "vp9"


class TestRestoring:
    def test_restorer_sees_each_frame_once_in_order(self, clip, tmp_path):
        seen = []

        def brighten(image):
            assert (image.shape, image.dtype) == ((48, 64, 3), np.uint16)
            seen.append(image)
            return (image // 2 + 20000).astype(np.uint16)

        restore_video(clip, tmp_path / "out.mkv", brighten, options=FFV1, progress=False)
        expected = list(pictures())
        assert len(seen) == len(expected)
        for image, original in zip(seen, expected, strict=True):
            # The clip was coded as BT.601 but is tagged BT.709: colours shift a little, no more.
            assert psnr(image, original, 65535) > 20
        limited_black = 16 + 219 * 20000 / 65535
        frames = read_clip(tmp_path / "out.mkv")[0]
        assert min(frame[0].min() for frame in frames) >= int(limited_black)

    def test_super_resolution_doubles_the_size(self, clip, tmp_path):
        def double(image):
            return image.repeat(2, axis=0).repeat(2, axis=1)

        summary = restore_video(clip, tmp_path / "out.mkv", double, options=FFV1, progress=False)
        frame = read_clip(tmp_path / "out.mkv")[2]
        assert (frame.width, frame.height) == (128, 96)
        assert "128x96" in summary.output_format

    def test_pixel_format_can_be_chosen(self, clip, tmp_path):
        options = VideoOptions(codec="ffv1", pixel_format="yuv444p10le")
        restore_video(clip, tmp_path / "out.mkv", keep, options=options, progress=False)
        assert read_clip(tmp_path / "out.mkv")[2].format.name == "yuv444p10le"

    def test_gray_goes_to_an_encoder_without_gray(self, tmp_path):
        source = write_clip(tmp_path / "in.mkv", codec="ffv1", pixel_format="gray", audio=False)
        options = VideoOptions(codec="libsvtav1", encoder_options=(("preset", "10"),))
        restore_video(source, tmp_path / "out.mp4", keep, options=options, progress=False)
        frame = read_clip(tmp_path / "out.mp4")[2]
        assert frame.format.name == "yuv420p"
        assert abs(int(np.frombuffer(frame.planes[1], np.uint8)[0]) - 128) <= 1

    def test_rgb_video(self, tmp_path):
        with av.open(str(tmp_path / "in.mkv"), "w") as out:
            stream = out.add_stream("ffv1", rate=10)
            stream.width, stream.height, stream.pix_fmt = 4, 2, "bgr0"
            red = np.zeros((2, 4, 3), np.uint8)
            red[..., 0] = 255
            out.mux(stream.encode(av.VideoFrame.from_ndarray(red, "rgb24").reformat(format="bgr0")))
            out.mux(stream.encode(None))
        seen = []
        summary = restore_video(
            tmp_path / "in.mkv",
            tmp_path / "out.mkv",
            lambda image: seen.append(image) or image,
            options=FFV1,
            progress=False,
        )
        np.testing.assert_array_equal(seen[0], red.astype(np.uint16) * 257)
        # Red in BT.601: Y 81, Cb 90, Cr 240 (arithmetic in test_yuv.py).
        assert [int(p[0, 0]) for p in read_clip(tmp_path / "out.mkv")[0][0]] == [81, 90, 240]
        assert any("4:4:4" in note for note in summary.notes)

    def test_yuv_and_y4m(self, tmp_path):
        fmt = yuv.YuvFormat(64, 48, "444", 10)
        header = yuv.VideoHeader(fmt, Fraction(50))
        with yuv.YuvWriter(tmp_path / "in.yuv", header) as file:
            for picture in pictures():
                file.write(rgb_to_planes(picture, fmt, ColorSpec()))
        options = VideoOptions(yuv_size=(64, 48), yuv_format="yuv444p10le", fps=Fraction(50))
        restore_video(
            tmp_path / "in.yuv", tmp_path / "out.y4m", keep, options=options, progress=False
        )
        assert yuv.read_y4m_header(tmp_path / "out.y4m").rate == 50
        restore_video(tmp_path / "out.y4m", tmp_path / "again.yuv", keep, progress=False)
        assert (tmp_path / "again.yuv").read_bytes() == (tmp_path / "in.yuv").read_bytes()

    def test_real_vvc(self, tmp_path):
        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
        encoders = subprocess.run([ffmpeg, "-hide_banner", "-encoders"], capture_output=True)
        if b"libvvenc" not in encoders.stdout:
            pytest.skip("this build of FFmpeg has no VVC encoder (libvvenc)")
        source = write_clip(tmp_path / "in.mp4")
        encode = ["-i", source, "-c:v", "libvvenc", "-preset", "faster", "-qp", "30"]
        for name, extra in (("vvc.mp4", ["-c:a", "copy"]), ("bare.266", ["-an", "-f", "vvc"])):
            command = [ffmpeg, "-loglevel", "error", "-nostdin", *encode, *extra, tmp_path / name]
            subprocess.run(command, check=True, capture_output=True)
            summary = restore_video(tmp_path / name, tmp_path / f"{name}.mkv", keep, progress=False)
            assert summary.num_frames == 6
            assert summary.input_format == "vvc 64x48 yuv420p10le"
        assert sound_packets(tmp_path / "vvc.mp4.mkv")
        # A bare bitstream has no times: 25 frames a second unless --fps says otherwise.
        assert [float(t) for t in read_clip(tmp_path / "bare.266.mkv")[1][:3]] == [
            0,
            0.04,
            0.08,
        ]


class TestInterruption:
    def test_failure_leaves_nothing(self, clip, tmp_path):
        calls = []

        def fail(image):
            calls.append(image)
            if len(calls) == 3:
                raise RuntimeError("out of memory")
            return image

        with pytest.raises(RuntimeError, match="out of memory"):
            restore_video(clip, tmp_path / "out.mkv", fail, progress=False)
        assert list(tmp_path.iterdir()) == []

    def test_keyboard_interrupt_leaves_nothing(self, clip, tmp_path):
        def interrupt(image):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            restore_video(clip, tmp_path / "out.mkv", interrupt, progress=False)
        assert list(tmp_path.iterdir()) == []

    def test_failure_keeps_the_old_output(self, clip, tmp_path):
        def fail(image):
            raise RuntimeError("broken")

        (tmp_path / "out.mkv").write_bytes(b"old")
        with pytest.raises(RuntimeError, match="broken"):
            restore_video(clip, tmp_path / "out.mkv", fail, overwrite=True, progress=False)
        assert [p.name for p in tmp_path.iterdir()] == ["out.mkv"]
        assert (tmp_path / "out.mkv").read_bytes() == b"old"


class TestRefusals:
    @pytest.mark.parametrize("content", [b"", b"no video at all " * 40])
    def test_not_a_video(self, tmp_path, content):
        (tmp_path / "in.mp4").write_bytes(content)
        with pytest.raises(ValueError, match="not a video that can be read"):
            restore_video(tmp_path / "in.mp4", tmp_path / "out.mkv", keep, progress=False)

    def test_truncated_mp4(self, clip, tmp_path):
        (tmp_path / "in.mp4").write_bytes(clip.read_bytes()[:2000])
        with pytest.raises(ValueError, match=r"in\.mp4"):
            restore_video(tmp_path / "in.mp4", tmp_path / "out.mkv", keep, progress=False)

    def test_truncated_matroska_says_so(self, tmp_path):
        source = write_clip(tmp_path / "in.mkv", codec="ffv1", audio=False)
        data = source.read_bytes()
        source.write_bytes(data[: len(data) // 2])
        summary = restore_video(source, tmp_path / "out.mkv", keep, progress=False)
        assert 0 < summary.num_frames < 6

    def test_sound_only(self, tmp_path):
        with av.open(str(tmp_path / "in.mkv"), "w") as out:
            stream = out.add_stream("flac", rate=8000, layout="mono")
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 4096), np.int16), format="s16", layout="mono"
            )
            frame.sample_rate, frame.pts = 8000, 0
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        with pytest.raises(ValueError, match="no video stream"):
            restore_video(tmp_path / "in.mkv", tmp_path / "out.mkv", keep, progress=False)

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("out.webm", {"codec": "libx264"}, "cannot hold h264"),
            ("out.mkv", {"codec": "h263000"}, "not an encoder"),
            ("out.mkv", {"codec": "flac"}, "encodes audio"),
            ("out.mkv", {"codec": "ffv1", "crf": 10.0}, "lossless"),
            ("out.mkv", {"codec": "libsvtav1", "pixel_format": "yuv444p"}, "does not take yuv444p"),
            ("out.mkv", {"fps": Fraction(25)}, "leave --fps out"),
            ("out.xyz", {}, "no container is known"),
            ("out.y4m", {"codec": "libx264"}, "bare samples"),
        ],
    )
    def test_options_that_do_not_fit(self, clip, tmp_path, name, options, message):
        with pytest.raises(ValueError, match=message):
            restore_video(
                clip, tmp_path / name, keep, options=VideoOptions(**options), progress=False
            )
        assert list(tmp_path.iterdir()) == []

    def test_odd_size_for_x264(self, tmp_path):
        fmt = yuv.YuvFormat(33, 17, "420")
        with yuv.Y4mWriter(tmp_path / "in.y4m", yuv.VideoHeader(fmt, Fraction(25))) as file:
            file.write(rgb_to_planes(np.zeros((17, 33, 3), np.uint8), fmt, ColorSpec()))
        with pytest.raises(ValueError, match="libx264 refuses 33x17"):
            restore_video(tmp_path / "in.y4m", tmp_path / "out.mkv", keep, progress=False)
        restore_video(
            tmp_path / "in.y4m",
            tmp_path / "out.mkv",
            keep,
            options=FFV1,
            progress=False,
        )
        assert read_clip(tmp_path / "out.mkv")[2].width == 33

    def test_names(self, clip, tmp_path):
        with pytest.raises(FileNotFoundError, match="no such file"):
            restore_video(tmp_path / "in.mp4", tmp_path / "out.mkv", keep)
        with pytest.raises(FileNotFoundError, match="no such folder"):
            restore_video(clip, tmp_path / "missing" / "out.mkv", keep)
        (tmp_path / "out.mkv").touch()
        with pytest.raises(FileExistsError, match="--overwrite"):
            restore_video(clip, tmp_path / "out.mkv", keep)
        with pytest.raises(FileExistsError, match="choose another name"):
            restore_video(clip, clip, keep, overwrite=True)

    def test_yuv_without_size(self, tmp_path):
        (tmp_path / "in.yuv").write_bytes(bytes(12))
        with pytest.raises(ValueError, match="--yuv-size"):
            restore_video(tmp_path / "in.yuv", tmp_path / "out.mkv", keep)

    def test_transparent_video(self, tmp_path):
        with av.open(str(tmp_path / "in.mkv"), "w") as out:
            stream = out.add_stream("ffv1", rate=10)
            stream.width, stream.height, stream.pix_fmt = 4, 2, "yuva420p"
            frame = av.VideoFrame.from_ndarray(np.zeros((2, 4, 4), np.uint8), "rgba")
            out.mux(stream.encode(frame.reformat(format="yuva420p")))
            out.mux(stream.encode(None))
        with pytest.raises(ValueError, match="transparent"):
            restore_video(tmp_path / "in.mkv", tmp_path / "out.mkv", keep)
