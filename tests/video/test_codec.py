"""Which codec a file is of, without decoding it."""

import clips
import pytest

from armoe_jax.video.codec import codec_of


@pytest.mark.parametrize("name", ["a.y4m", "a.YUV"])
def test_raw_files_are_known_by_their_names(tmp_path, name):
    assert codec_of(tmp_path / name) == "rawvideo"  # without a look inside


@pytest.mark.parametrize(
    ("suffix", "encoder", "codec"),
    [
        (".mp4", "libx264", "h264"),
        (".265", "libx265", "hevc"),
        (".avi", "mjpeg", "mjpeg"),
        (".mkv", "ffv1", "ffv1"),
    ],
)
def test_files_are_known_by_their_first_video(tmp_path, suffix, encoder, codec):
    path = tmp_path / f"in{suffix}"
    clips.run_ffmpeg(*clips.TEST_PICTURES, "-frames:v", "2", "-c:v", encoder, path)
    assert codec_of(path) == codec


def test_what_is_no_video_is_of_no_codec(tmp_path):
    assert codec_of(tmp_path / "absent.mp4") == ""
    (tmp_path / "text.mp4").write_text("no video")
    assert codec_of(tmp_path / "text.mp4") == ""
    clips.run_ffmpeg(*clips.TONE, tmp_path / "sound.wav")
    assert codec_of(tmp_path / "sound.wav") == ""
