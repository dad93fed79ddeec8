"""The shape of pixels, with codecs and containers that state it and that do not."""

from fractions import Fraction

import av
import pytest
from clips import TEST_PICTURES, keep, read_clip, run_ffmpeg

from armoe_jax.video import VideoOptions, restore_video, yuv
from armoe_jax.video.aspect import keep_pixel_aspect
from armoe_jax.video.muxer import muxer_of
from armoe_jax.video.pyav import as_fraction


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".webm", "libvpx-vp9"),
        (".webm", "libsvtav1"),
        (".mkv", "libx264"),
        (".mkv", "libsvtav1"),
        (".mp4", "libx264"),
        (".mp4", "libsvtav1"),
        (".avi", "libx264"),
    ],
)
def test_pixel_aspect(tmp_path, suffix, codec):
    shape = ("-vf", "setsar=17/16", "-metadata", "title=T", "-c:v", "libx264")
    run_ffmpeg(*TEST_PICTURES, *shape, tmp_path / "in.mp4")
    out = tmp_path / f"out{suffix}"
    options = VideoOptions(codec=codec, preset="12" if codec == "libsvtav1" else None)
    assert (
        restore_video(tmp_path / "in.mp4", out, keep, options=options, progress=False).notes == ()
    )
    with av.open(str(out)) as container:
        video = container.streams.video[0]
        assert as_fraction(video.sample_aspect_ratio) == Fraction(17, 16)
        assert container.metadata["title"] == "T"
    _, times, _ = read_clip(out)
    assert len(times) == 12
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


def test_pixel_aspect_of_raw_input(tmp_path):
    """FFV1 states no aspect in its pictures: 64x48 of pixels 17:16 is 17:12 on the screen."""
    fmt = yuv.YuvFormat(64, 48)
    header = yuv.VideoHeader(fmt, Fraction(25), pixel_aspect=Fraction(17, 16))
    with yuv.Y4mWriter(tmp_path / "in.y4m", header) as file:
        file.write(yuv.frame_from_bytes(bytes(fmt.frame_bytes), fmt))
    options = VideoOptions(codec="ffv1")
    restore_video(tmp_path / "in.y4m", tmp_path / "out.mkv", keep, options=options, progress=False)
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(17, 16)


def test_shape_that_cannot_be_stated_is_noted(tmp_path):
    (tmp_path / "out.webm").write_bytes(b"not a video")
    muxer = muxer_of(tmp_path / "out.webm")
    notes = keep_pixel_aspect(tmp_path / "out.webm", muxer, Fraction(17, 16))
    assert notes == ["pixel aspect 17/16 is not kept"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.webm"]
