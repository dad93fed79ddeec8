"""Sound and subtitles of a video: carried over, written anew, or left out with a note."""

from fractions import Fraction

import av
import pytest
from clips import (
    TEST_PICTURES,
    TONE,
    keep,
    packets_of,
    run_ffmpeg,
    sound_packets,
    streams_of,
    write_clip,
)

from armoe_jax.video import restore_video

# A set of segments as Blu-ray has them: a composition (0x16) of 11 bytes, and the end (0x80).
PGS = b"\x16\x00\x0b" + bytes(11) + b"\x80\x00\x00"

SUBRIP = """1
00:00:00,000 --> 00:00:00,100
Good <i>day</i>

2
00:00:00,200 --> 00:00:00,300
Two
lines
"""


def write_bitmap_subtitles(path, codec, data=b"\x01\x02 a picture"):
    """Writes a video with one packet of subtitles, at 0.04 s."""
    with av.open(str(path), "w") as out:
        pictures = out.add_stream("ffv1", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        subtitles = out.add_mux_stream(codec)
        subtitles.time_base = Fraction(1, 1000)
        for n in range(3):
            frame = av.VideoFrame(32, 32, "yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(pictures.encode(frame))
        packet = av.Packet(data)
        packet.pts = packet.dts = packet.duration = 40
        packet.time_base, packet.stream = Fraction(1, 1000), subtitles
        out.mux(packet)
        out.mux(pictures.encode(None))
    return path


@pytest.fixture(scope="module")
def subtitled(tmp_path_factory):
    """An MP4 with text subtitles, as phones and stores give it."""
    folder = tmp_path_factory.mktemp("subtitled")
    (folder / "text.srt").write_text(SUBRIP)
    languages = ("-metadata:s:s:0", "language=deu", "-disposition:s:0", "forced")
    codecs = ("-c:v", "libx264", "-c:s", "mov_text", *languages)
    run_ffmpeg(*TEST_PICTURES, "-i", folder / "text.srt", *codecs, folder / "in.mp4")
    return folder / "in.mp4"


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_dts_sound(tmp_path, suffix):
    sound = ("-c:a", "dca", "-ac", "2", "-strict", "-2")
    run_ffmpeg(*TEST_PICTURES, *TONE, "-c:v", "libx264", *sound, tmp_path / "in.mkv")
    out = tmp_path / f"out{suffix}"
    assert restore_video(tmp_path / "in.mkv", out, keep, progress=False).notes == ()
    assert streams_of(out) == [("video", "h264"), ("audio", "dts")]
    ours, theirs = sound_packets(out), sound_packets(tmp_path / "in.mkv")
    assert [data for data, _ in ours] == [data for data, _ in theirs]


@pytest.mark.parametrize(
    ("codec", "data"),
    [("hdmv_pgs_subtitle", PGS), ("dvd_subtitle", b"\x01\x02"), ("dvb_subtitle", b"\x01\x02")],
)
def test_bitmap_subtitles(tmp_path, codec, data):
    source = write_bitmap_subtitles(tmp_path / "in.mkv", codec, data)
    assert restore_video(source, tmp_path / "out.mkv", keep, progress=False).notes == ()
    assert streams_of(tmp_path / "out.mkv") == [("video", "h264"), ("subtitle", codec)]
    assert packets_of(tmp_path / "out.mkv", "subtitles") == [(data, 0.04)]


def test_what_cannot_be_carried_is_left_out_with_a_note(tmp_path):
    source = write_bitmap_subtitles(tmp_path / "in.mkv", "hdmv_pgs_subtitle", PGS)
    summary = restore_video(source, tmp_path / "out.mp4", keep, progress=False)
    note = ".mp4 cannot hold hdmv_pgs_subtitle: stream 1 (subtitle) is left out"
    assert summary.notes == (note,)
    assert summary.num_copied_streams == 0
    assert streams_of(tmp_path / "out.mp4") == [("video", "h264")]
    source = write_clip(tmp_path / "in.mp4")
    summary = restore_video(source, tmp_path / "out.webm", keep, progress=False)
    assert summary.notes == (".webm cannot hold aac: stream 1 (audio) is left out",)
    assert streams_of(tmp_path / "out.webm") == [("video", "vp9")]


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "subrip"), (".webm", "webvtt")])
def test_text_subtitles_become_what_fits(subtitled, tmp_path, suffix, codec):
    out = tmp_path / f"out{suffix}"
    assert restore_video(subtitled, out, keep, progress=False).num_copied_streams == 1
    assert streams_of(out)[1] == ("subtitle", codec)
    texts = [(b"Good <i>day</i>", 0.0), (b"Two\nlines", 0.2)]
    assert packets_of(out, "subtitles") == texts
    with av.open(str(out)) as container:
        assert container.streams[1].language in ("deu", "ger")
        assert container.streams[1].disposition & av.stream.Disposition.forced


def test_text_subtitles_come_back_to_mp4(subtitled, tmp_path):
    restore_video(subtitled, tmp_path / "out.mkv", keep, progress=False)
    restore_video(tmp_path / "out.mkv", tmp_path / "again.mp4", keep, progress=False)
    first, second = (packets_of(p, "subtitles") for p in (subtitled, tmp_path / "again.mp4"))
    assert [data for data, _ in second if len(data) > 2] == [d for d, _ in first if len(d) > 2]


def test_flags_and_language_of_tracks(tmp_path):
    tracks = ("-map", "0", "-map", "1", "-map", "2", "-disposition:a:0", "0")
    tracks += ("-disposition:a:1", "default+comment", "-metadata:s:a:1", "language=fra")
    run_ffmpeg(*TEST_PICTURES, *TONE, *TONE, *tracks, "-c:v", "libx264", tmp_path / "in.mkv")
    for suffix in (".mkv", ".mp4"):
        out = tmp_path / f"out{suffix}"
        restore_video(tmp_path / "in.mkv", out, keep, progress=False)
        with av.open(str(out)) as container:
            first, second = container.streams.audio
            assert second.disposition == av.stream.Disposition.default | (
                av.stream.Disposition.comment
            )
            assert not first.disposition & av.stream.Disposition.default
            assert second.language == "fra"


def test_sound_of_an_unknown_codec_is_left_out(tmp_path):
    source = tmp_path / "in.mkv"
    run_ffmpeg(*TEST_PICTURES, *TONE, "-c:v", "libx264", "-c:a", "pcm_s16le", source)
    source.write_bytes(source.read_bytes().replace(b"A_PCM/INT/LIT", b"A_XYZ/INT/LIT"))
    summary = restore_video(source, tmp_path / "out.mkv", keep, progress=False)
    assert summary.num_frames == 12
    assert summary.notes == (".mkv cannot hold an unknown codec: stream 1 (audio) is left out",)
