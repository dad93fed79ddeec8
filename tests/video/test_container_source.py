"""Reading containers: times that are missing or in another order, codecs that nobody knows."""

from fractions import Fraction

import pytest
from clips import TEST_PICTURES, TONE, read_clip, run_ffmpeg, times_of, write_clip

from armoe_jax.video import VideoOptions, restore_video
from armoe_jax.video.codec import codec_of
from armoe_jax.video.container_source import ContainerSource


def test_avi_with_b_frames(tmp_path):
    run_ffmpeg(*TEST_PICTURES, "-c:v", "libx264", "-bf", "3", tmp_path / "in.avi")
    source = ContainerSource(tmp_path / "in.avi", VideoOptions())
    assert times_of(source) == [Fraction(n, 30) for n in range(12)]
    source.close()


class _TimelessStart(ContainerSource):
    """A container whose first frames have lost their times, as after a cut in a broadcast."""

    num_timeless = 3

    def _decode(self):
        number = 0
        for item in super()._decode():
            if hasattr(item, "pict_type"):
                if number < self.num_timeless:
                    item.pts = None
                number += 1
            yield item


@pytest.mark.parametrize("num_timeless", [1, 3, 6])
def test_frames_without_times_follow_the_rate_of_the_container(tmp_path, num_timeless):
    _TimelessStart.num_timeless = num_timeless
    path = write_clip(tmp_path / "in.mp4")
    source = _TimelessStart(path, VideoOptions())
    assert source.info.rate == Fraction(30000, 1001)
    assert times_of(source) == read_clip(path)[1] == [Fraction(1001 * n, 30000) for n in range(6)]
    source.close()


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_unknown_video_codec(tmp_path, suffix):
    path = tmp_path / f"in{suffix}"
    run_ffmpeg(*TEST_PICTURES, *TONE, "-c:v", "libx264", "-c:a", "pcm_s16le", path)
    data = path.read_bytes()
    for name, unknown in ((b"V_MPEG4/ISO/AVC", b"V_XYZ/ISO/AVC\0\0"), (b"H264", b"XY64")):
        data = data.replace(name, unknown)
    path.write_bytes(data)
    assert codec_of(path) == ""
    with pytest.raises(ValueError, match="codec that FFmpeg does not know"):
        restore_video(path, tmp_path / "out.mkv", lambda image: image, progress=False)
    assert not (tmp_path / "out.mkv").exists()
