"""Videos among the inputs of a command."""

from pathlib import Path

import clips
import pytest

from armoe_jax.cli import main
from armoe_jax.commands.options import Restorers
from armoe_jax.video import VideoOptions, files


class TestFiles:
    def test_split(self, tmp_path):
        for name in ("a.mp4", "b.mp4", "c.png"):
            (tmp_path / name).touch()
        videos, others = files.split_inputs([str(tmp_path / "*.mp4"), "c.png", str(tmp_path)])
        assert videos == [tmp_path / "a.mp4", tmp_path / "b.mp4"]
        assert others == ["c.png", str(tmp_path)]
        with pytest.raises(FileNotFoundError, match="no video"):
            files.split_inputs(["nothing.mkv"])

    def test_output_names(self):
        one, two = Path("x/a.mp4"), Path("x/b.266")
        assert files.output_paths([one], "o.mkv") == [Path("o.mkv")]
        assert files.output_paths([one, two], "out", name_suffix="_r") == [
            Path("out/a_r.mp4"),
            Path("out/b_r.mkv"),
        ]
        with pytest.raises(ValueError, match="name a folder"):
            files.output_paths([one, two], "o.mkv")
        with pytest.raises(ValueError, match="name a folder"):
            files.output_paths([one], "o.mkv", alone=False)
        with pytest.raises(ValueError, match="would both become"):
            files.output_paths([one, Path("y/a.mp4")], "out")

    def test_one_bad_video_does_not_stop_the_rest(self, clip, tmp_path):
        (tmp_path / "bad.mp4").write_bytes(b"nothing")
        # Nor does a network that cannot be loaded.
        (tmp_path / "other.mp4").write_bytes(clip.read_bytes())
        videos = [tmp_path / "bad.mp4", tmp_path / "other.mp4", clip]
        targets = files.output_paths(videos, tmp_path / "new" / "out")
        lines = []

        def load(video):
            if video.name == "other.mp4":
                raise ValueError("this network is damaged")
            return clips.keep

        failures = files.restore_files(
            videos,
            targets,
            load,
            options=VideoOptions(),
            overwrite=False,
            report=lines.append,
        )
        assert [path.name for path, _ in failures] == ["bad.mp4", "other.mp4"]
        assert failures[1][1] == "this network is damaged"
        assert len(lines) == 1
        assert clips.read_clip(targets[2])[1] == clips.read_clip(clip)[1]


def test_command(clip, tmp_path, monkeypatch, capsys):
    """A clip of an unknown codec and one cut short are listed; the good one is restored."""
    monkeypatch.setattr(Restorers, "require", lambda self, names: None)
    monkeypatch.setattr(Restorers, "__call__", lambda self, name: clips.keep)
    data = clip.read_bytes()
    # The name of the codec stands in the header of the MP4 alone.
    (tmp_path / "a.mp4").write_bytes(data.replace(b"avc1", b"xyz1").replace(b"avcC", b"xyzC"))
    (tmp_path / "b.mp4").write_bytes(data[: len(data) // 2])
    (tmp_path / "c.mp4").write_bytes(data)
    words = ["restore", str(tmp_path / "*.mp4"), "-o", str(tmp_path / "out"), "--video-codec"]
    assert main([*words, "ffv1", "--suffix", "_r"]) == 1
    printed = capsys.readouterr()
    assert "6 frames" in printed.out
    assert "a.mp4: its video is of a codec that FFmpeg does not know" in printed.err
    assert "b.mp4: not a video that can be read" in printed.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["c_r.mp4"]
    frames = zip(
        clips.read_clip(tmp_path / "out/c_r.mp4")[0], clips.read_clip(clip)[0], strict=True
    )
    assert min(clips.frame_psnr(a, b, 255) for a, b in frames) > 48
    assert main([*words, "ffv1", "--suffix", "_r"]) == 1
    assert "--overwrite" in capsys.readouterr().err
