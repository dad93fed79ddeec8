"""Damaged videos: each is restored as far as it goes or refused with a sentence, never more."""

import dataclasses

import numpy as np
import pytest
from clips import TEST_PICTURES, TONE, keep, run_ffmpeg

from armoe_jax.video import VideoOptions, restore_video

NUM_CASES = 40

KINDS = {
    "in.mp4": ("-c:v", "libx264", "-c:a", "aac"),
    "in.mkv": ("-c:v", "ffv1", "-c:a", "flac"),
    "in.webm": ("-c:v", "libvpx-vp9", "-c:a", "libopus"),
    "in.avi": ("-c:v", "mjpeg", "-c:a", "pcm_s16le"),
    "in.ts": ("-c:v", "mpeg2video", "-c:a", "mp2"),
    "in.mpg": ("-c:v", "mpeg1video", "-c:a", "mp2"),
    "in.mov": ("-c:v", "libx265", "-x265-params", "log-level=none", "-c:a", "aac"),
    "in.265": ("-c:v", "libx265", "-x265-params", "log-level=none", "-an"),
    "in.y4m": ("-an",),
    "in.yuv": ("-an",),
}
OUTPUTS = ("out.mkv", "out.mp4", "out.avi", "out.ts", "out.y4m")


@dataclasses.dataclass(frozen=True)
class Case:
    """One damaged file, how to read it, and what to write."""

    name: str
    data: bytes
    output: str
    options: VideoOptions


def sound_files(folder):
    """Writes a small video of every kind; returns name -> bytes."""
    for name, codecs in KINDS.items():
        run_ffmpeg(*TEST_PICTURES, *TONE, "-pix_fmt", "yuv420p", *codecs, folder / name)
    return {name: (folder / name).read_bytes() for name in KINDS}


def case_of(sound, number):
    """Returns the case of a number: always the same."""
    rng = np.random.default_rng(number)
    name = list(sound)[number % len(sound)]
    data = bytearray(sound[name])
    for _ in range(rng.integers(1, 4)):
        data = damage(data, rng)
    size = (64, 48) if name.endswith(".yuv") else None
    output = OUTPUTS[rng.integers(len(OUTPUTS))]
    codec = None if output.endswith((".y4m", ".ts")) else "ffv1"
    return Case(name, bytes(data), output, VideoOptions(yuv_size=size, codec=codec))


def damage(data, rng):
    """Returns a copy with one fault: bits, a stretch, the end, or the order."""
    # Headers are short and matter most.
    reach = len(data) if rng.random() < 0.5 else min(len(data), 1500)
    start = int(rng.integers(reach))
    length = int(rng.integers(1, 65))
    stretch = data[start : start + length]
    match rng.integers(6):
        case 0:
            data[start] ^= 1 << int(rng.integers(8))
        case 1:
            data[start : start + length] = rng.bytes(len(stretch))
        case 2:
            data[start : start + length] = bytes(len(stretch))
        case 3:
            del data[start : start + length]
        case 4:
            data[start:start] = stretch
        case _:
            del data[max(start, 1) :]
    return data


def restore(case, folder):
    """Restores a case; returns what became of it. What is not caught here is a defect."""
    source = folder / case.name
    source.write_bytes(case.data)
    try:
        summary = restore_video(
            source, folder / case.output, keep, options=case.options, progress=False
        )
    except (ValueError, OSError):
        assert not (folder / case.output).exists()
        outcome = "refused"
    else:
        assert summary.num_frames > 0
        assert (folder / case.output).stat().st_size > 0
        (folder / case.output).unlink()
        outcome = "restored"
    source.unlink()
    assert list(folder.iterdir()) == []
    return outcome


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return sound_files(tmp_path_factory.mktemp("sound"))


def test_sound_files_are_restored(sound, tmp_path):
    for name, data in sound.items():
        options = VideoOptions(yuv_size=(64, 48) if name.endswith(".yuv") else None)
        assert restore(Case(name, data, "out.mkv", options), tmp_path) == "restored"


def test_damaged_files(sound, tmp_path):
    outcomes = [restore(case_of(sound, number), tmp_path) for number in range(NUM_CASES)]
    assert {"refused", "restored"} == set(outcomes)
