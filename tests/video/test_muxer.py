"""Which muxer writes a file, and what it can hold."""

from pathlib import Path

import pytest

from armoe_jax.video.muxer import muxer_of


@pytest.mark.parametrize(
    ("name", "muxer"),
    [("a.mkv", "matroska"), ("A.M2TS", "mpegts"), ("a.webm", "webm"), ("a.266", "vvc")],
)
def test_muxer_of_a_suffix(name, muxer):
    assert muxer_of(Path(name)).name == muxer


def test_unknown_suffix():
    with pytest.raises(ValueError, match=r"no container is known by '\.xyz'"):
        muxer_of(Path("a.xyz"))


@pytest.mark.parametrize(
    ("name", "codec", "accepted"),
    [
        ("a.mkv", "pcm_s16le", True),
        ("a.mp4", "aac", True),
        ("a.webm", "aac", False),  # known from a table of FFmpeg
        ("a.ogv", "aac", False),  # known only when the head is written
    ],
)
def test_asks_by_trying(name, codec, accepted):
    muxer = muxer_of(Path(name))
    assert muxer.accepts(lambda out: out.add_stream(codec, rate=48000)) is accepted
