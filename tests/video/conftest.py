"""Videos shared by the tests of this folder."""

import sys
from pathlib import Path

import pytest

# Helper modules lie beside the tests.
sys.path.insert(0, str(Path(__file__).parent))

import clips


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """H.264 in MP4 with B-frames, uneven frame times, sound, and BT.709 tags."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    times = [0, 1001, 2002, 5005, 6006, 9009]
    tags = {"colorspace": 1, "color_primaries": 1, "color_trc": 1, "color_range": 1}
    return clips.write_clip(path, times=times, **tags)
