"""Outputs of every container: frames, times, chapters, metadata."""

import itertools
from fractions import Fraction

import av
import pytest
from clips import (
    TEST_PICTURES,
    TONE,
    keep,
    psnr,
    read_clip,
    run_ffmpeg,
    streams_of,
    times_of,
    write_clip,
)

from armoe_jax.video import VideoOptions, restore_video
from armoe_jax.video.container_source import ContainerSource

NO_AUDIO = VideoOptions(audio=False)
SUFFIXES = [".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".mxf", ".ogv", ".flv", ".3gp", ".wmv"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_container_can_be_written(clip, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    assert restore_video(clip, out, keep, progress=False).num_frames == 6
    frames, _, _ = read_clip(out)
    originals, _, _ = read_clip(clip)
    assert len(frames) == 6
    for ours, theirs in zip(frames, originals, strict=True):
        assert psnr(ours[0], theirs[0], 255) > 38


@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
def test_containers_of_broadcasts_keep_their_sound(tmp_path, suffix):
    run_ffmpeg(*TEST_PICTURES, *TONE, "-c:v", "mpeg2video", "-c:a", "mp2", tmp_path / "in.mpg")
    out = tmp_path / f"out{suffix}"
    assert restore_video(tmp_path / "in.mpg", out, keep, progress=False).notes == ()
    assert streams_of(out) == [("video", "h264"), ("audio", "mp2")]


@pytest.mark.parametrize("suffix", [".avi", ".mxf"])
def test_frames_of_a_constant_rate_are_even(tmp_path, suffix):
    """AVI has no times: pictures that are stored in another order than shown would get wrong."""
    source = write_clip(tmp_path / "in.mp4", times=[1001 * n for n in range(12)], audio=False)
    summary = restore_video(source, tmp_path / f"out{suffix}", keep, progress=False)
    assert summary.notes == ()
    _, times, _ = read_clip(tmp_path / f"out{suffix}")
    steps = [after - before for before, after in itertools.pairwise(times)]
    assert steps == [Fraction(1001, 30000)] * 11


def test_gaps_of_an_even_rate_stay_in_avi(clip, tmp_path):
    summary = restore_video(clip, tmp_path / "out.avi", keep, options=NO_AUDIO, progress=False)
    assert summary.notes == ()
    source = ContainerSource(tmp_path / "out.avi", VideoOptions())
    assert times_of(source) == read_clip(clip)[1]
    source.close()


@pytest.mark.parametrize(
    ("suffix", "times"),
    [(".avi", [0, 1001, 1501, 5005, 6006, 9009]), (".mxf", [0, 1001, 2002, 5005, 6006, 9009])],
)
def test_times_that_cannot_be_held_are_noted(tmp_path, suffix, times):
    source = write_clip(tmp_path / "in.mp4", times=times, audio=False)
    summary = restore_video(source, tmp_path / f"out{suffix}", keep, progress=False)
    assert summary.notes == (f"{suffix} has a constant rate: time stamps not kept",)


def test_chapters_and_title(tmp_path):
    (tmp_path / "chapters.txt").write_text(
        ";FFMETADATA1\ntitle=A film\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=400\ntitle=Two\n"
    )
    chapters = ("-i", tmp_path / "chapters.txt", "-map_metadata", "1", "-map_chapters", "1")
    run_ffmpeg(*TEST_PICTURES, *chapters, "-c:v", "libx264", tmp_path / "in.mkv")
    for suffix in (".mkv", ".mp4", ".webm"):
        restore_video(tmp_path / "in.mkv", tmp_path / f"out{suffix}", keep, progress=False)
        with av.open(str(tmp_path / f"out{suffix}")) as out:
            found = [(c["metadata"]["title"], c["start"] * c["time_base"]) for c in out.chapters()]
            assert found == [("One", 0), ("Two", Fraction(1, 5))]
            assert out.metadata["title"] == "A film"


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_metadata_in_latin_1_are_kept(tmp_path, suffix):
    source = tmp_path / f"in{suffix}"
    run_ffmpeg(*TEST_PICTURES, "-c:v", "libx264", "-metadata", "title=CAFE IN LATIN 1", source)
    source.write_bytes(source.read_bytes().replace(b"CAFE", "CAFÉ".encode("latin-1")))
    out = tmp_path / f"out{suffix}"
    assert restore_video(source, out, keep, progress=False).num_frames == 12
    assert "CAFÉ IN LATIN 1".encode("latin-1") in out.read_bytes()
