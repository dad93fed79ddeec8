"""Programs that are absent, fail, say nothing or hang."""

import pytest

from input_pipeline.codecs import CodecError, CodecOptions, get_codec
from input_pipeline.codecs import ffmpeg as ffmpeg_module


def test_missing_program(monkeypatch, tmp_path, photo):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "ffmpeg"))
    with pytest.raises(FileNotFoundError, match="IMAGEIO_FFMPEG_EXE"):
        get_codec("vvc", CodecOptions(preset="faster"))


def test_program_without_the_encoder(monkeypatch, tmp_path, write_program):
    program = write_program(tmp_path / "ffmpeg", "print(' V..... libx264  H.264')")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(FileNotFoundError, match="no encoder libvvenc"):
        get_codec("vvc", CodecOptions(preset="faster"))


def test_crashing_program_shows_its_last_line(monkeypatch, tmp_path, photo, write_program):
    codec = get_codec("avc", CodecOptions(preset="ultrafast"))
    body = "import sys; sys.stderr.write('warming up\\nboom: out of registers\\n\\n'); sys.exit(3)"
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(write_program(tmp_path / "ffmpeg", body)))
    with pytest.raises(CodecError, match="status 3: boom: out of registers"):
        codec.code(photo, 30)


def test_silent_program_is_noticed(monkeypatch, tmp_path, photo, write_program):
    codec = get_codec("avc", CodecOptions(preset="ultrafast"))
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(write_program(tmp_path / "ffmpeg", "")))
    with pytest.raises(CodecError, match="got 0 bytes, expected 9216"):  # 64 * 96 * 3 / 2
        codec.code(photo, 30)


def test_hanging_program_is_stopped(monkeypatch, tmp_path, write_program):
    program = write_program(tmp_path / "ffmpeg", "import time; time.sleep(60)")
    monkeypatch.setattr(ffmpeg_module, "TIMEOUT_S", 0.2)
    with pytest.raises(CodecError, match="took longer than"):
        ffmpeg_module.run_program([str(program)], what="waiting")
