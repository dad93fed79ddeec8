"""Flags of videos."""

import argparse
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from armoe_jax.video import VideoOptions, add_arguments, is_video, options_from_args


class TestCommandLine:
    def test_flags(self):
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        flags = {
            "--video-codec": "libx265",
            "--crf": "20",
            "--yuv-size": "416x240",
            "--yuv-format": "420p10",
            "--fps": "30000/1001",
            "--color-matrix": "bt709",
            "--color-range": "full",
            "--encoder-option": "g=1",
        }
        words = [word for pair in flags.items() for word in pair]
        args = parser.parse_args([*words, "--no-audio"])
        assert options_from_args(args) == VideoOptions(
            codec="libx265",
            crf=20.0,
            yuv_size=(416, 240),
            yuv_format="420p10",
            fps=Fraction(30000, 1001),
            color_matrix="bt709",
            color_range="full",
            audio=False,
            encoder_options=(("g", "1"),),
        )
        assert options_from_args(parser.parse_args([])) == VideoOptions()

    @pytest.mark.parametrize(
        "flags", ["--yuv-size 416", "--fps 0", "--fps 1/0", "--encoder-option =1"]
    )
    def test_bad_flags(self, flags, capsys):
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        with pytest.raises(SystemExit):
            parser.parse_args(flags.split())
        assert "argument" in capsys.readouterr().err

    def test_suffixes(self):
        assert is_video("a/clip.MP4")
        assert is_video(Path("x.266"))
        assert not is_video("clip.png")
        assert not is_video(".clip.mkv.host-123-0.tmp")

    def test_importing_the_flags_does_not_load_pyav(self):
        code = "import sys, armoe_jax.video; sys.exit('av' in sys.modules or 'jax' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0
