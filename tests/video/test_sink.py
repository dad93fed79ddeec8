"""What every way of writing a video has in common."""

from fractions import Fraction

import numpy as np
import pytest

from armoe_jax.runtime import files
from armoe_jax.video import VideoOptions, yuv
from armoe_jax.video.color import ColorSpec
from armoe_jax.video.info import ColorTags, Picture, SourceInfo
from armoe_jax.video.sink import Sink

INFO = SourceInfo(
    "h264",
    yuv.YuvFormat(6, 4, "422", 10),
    ColorSpec("bt709", True),
    ColorTags(),
    rate=Fraction(25),
    time_base=Fraction(1, 25),
)


class Writing(Sink):
    """Writes samples one behind the other."""

    def mux(self, packet):
        raise AssertionError("no other streams here")

    def _configure(self, width, height):
        self.file = self.partial.open("wb")
        return self._wanted_format(width, height, self.options.pixel_format)

    def _write(self, planes, picture):
        self.file.write(b"".join(plane.tobytes() for plane in planes))

    def _finish(self):
        self.file.close()

    def _abandon(self):
        self.file.close()


def picture(height=8, width=12, level=65535):
    return Picture(np.full((height, width, 3), level, np.uint16), 0, 1)


def test_the_first_picture_sets_size_and_format_and_the_end_the_name(tmp_path):
    sink = Writing(tmp_path / "out.yuv", INFO, VideoOptions())
    assert sink.format is None
    for _ in range(2):
        sink.write(picture())
    # Twice the size, in the sampling and depth of the input.
    assert sink.format == yuv.YuvFormat(12, 8, "422", 10)
    assert sink.num_frames == 2
    assert not (tmp_path / "out.yuv").exists()
    sink.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["out.yuv"]
    samples = np.fromfile(tmp_path / "out.yuv", "<u2")
    assert samples.size == 2 * (8 * 12 + 2 * 8 * 6)
    # White of full range: luma 1023 and neutral chroma 512.
    np.testing.assert_array_equal(samples[:96], 1023)
    np.testing.assert_array_equal(samples[96:192], 512)


def test_another_format_can_be_asked_for(tmp_path):
    sink = Writing(tmp_path / "out.yuv", INFO, VideoOptions(pixel_format="yuv420p"))
    sink.write(picture(4, 6))
    sink.abandon()
    assert sink.format == yuv.YuvFormat(6, 4, "420", 8)


def test_what_is_given_up_leaves_the_old_file(tmp_path):
    (tmp_path / "out.yuv").write_bytes(b"old")
    sink = Writing(tmp_path / "out.yuv", INFO, VideoOptions())
    sink.write(picture())
    sink.abandon()
    assert [path.name for path in tmp_path.iterdir()] == ["out.yuv"]
    assert (tmp_path / "out.yuv").read_bytes() == b"old"


def test_unfinished_files_of_killed_runs_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("os.getpid", lambda: 2**22 + 1)  # beyond any process's number
    left = files.temporary_name(tmp_path / "out.yuv")
    left.write_bytes(b"half")
    monkeypatch.undo()
    sink = Writing(tmp_path / "out.yuv", INFO, VideoOptions())
    assert not left.exists()
    assert sink.partial != left


def test_it_cannot_be_used_as_it_is(tmp_path):
    with pytest.raises(TypeError, match="abstract"):
        Sink(tmp_path / "out.yuv", INFO, VideoOptions())
