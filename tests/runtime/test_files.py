"""Files appear whole or not at all, and nothing is left behind."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from armoe_jax.runtime import files
from armoe_jax.runtime.files import remove_leftovers, utf8_path, write_atomically, written_beside

NOT_UTF8 = os.fsdecode(b"caf\xe9")


def test_text_and_bytes_are_written_with_missing_folders(tmp_path):
    write_atomically(tmp_path / "a" / "b" / "text", "é")
    write_atomically(str(tmp_path / "a" / "bytes"), b"\xff")
    assert (tmp_path / "a" / "b" / "text").read_bytes() == b"\xc3\xa9"
    assert (tmp_path / "a" / "bytes").read_bytes() == b"\xff"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "bytes", "text"]


def test_names_that_are_not_utf8(tmp_path):
    path = tmp_path / f"{NOT_UTF8}.txt"
    write_atomically(path, path.name)
    assert path.read_text() == r"caf\udce9.txt"


def test_the_longest_names_are_written(tmp_path):
    for name in ("x" * 255, "é" * 127):  # bytes, in UTF-8
        write_atomically(tmp_path / name, name)
        assert (tmp_path / name).read_text() == name


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_are_on_disk_before_the_name(tmp_path, monkeypatch):
    """A crash of the machine between the two would otherwise leave an empty file."""
    synced = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        assert not (tmp_path / "file").exists()
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write_atomically(tmp_path / "file", b"x")
    assert [path.parent for path in synced] == [tmp_path]


class TestWrittenBeside:
    def test_folder_takes_the_place_of_a_folder(self, tmp_path):
        path = tmp_path / "model"
        for content in ("old", "new"):
            with written_beside(path) as new:
                new.mkdir()
                (new / content).touch()
        assert [entry.name for entry in tmp_path.rglob("*")] == ["model", "new"]

    def test_file_does_not_take_the_place_of_a_folder(self, tmp_path):
        (tmp_path / "x").mkdir()
        with pytest.raises(IsADirectoryError), written_beside(tmp_path / "x") as new:
            new.touch()
        assert [entry.name for entry in tmp_path.iterdir()] == ["x"]

    def test_existing_file_is_refused_before_and_after(self, tmp_path):
        path = tmp_path / "x"
        beside = written_beside(path, overwrite=False)
        beside.__enter__().write_text("mine")
        path.write_text("another's")
        with pytest.raises(FileExistsError):
            beside.__exit__(None, None, None)
        assert path.read_text() == "another's"
        with pytest.raises(FileExistsError), written_beside(path, overwrite=False):
            raise AssertionError("the block must not run")
        assert list(tmp_path.iterdir()) == [path]

    def test_folder_comes_back_if_the_new_one_cannot_take_its_place(self, tmp_path, monkeypatch):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "old").touch()

        def fail(self: Path, target: Path) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "replace", fail)
        with pytest.raises(KeyboardInterrupt), written_beside(tmp_path / "model") as new:
            new.mkdir()
        assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["model", "old"]


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    program = (
        "import os, sys\n"
        "from armoe_jax.runtime.files import written_beside\n"
        f"with written_beside(r'{tmp_path}/x.png') as new:\n"
        "    new.touch()\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    assert len(list(tmp_path.iterdir())) == 1
    kept = [files.temporary_name(tmp_path / "y.png"), tmp_path / ".other-1-2.tmp"]
    for path in kept:
        path.touch()
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_names_beside_a_file_are_never_given_twice(tmp_path):
    assert len({files.temporary_name(tmp_path / "x") for _ in range(100)}) == 100


def test_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert files.sha256_of(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_user_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.user_cache_folder() == tmp_path / "armoe-jax"


def test_utf8_path(tmp_path):
    with utf8_path(tmp_path) as same:
        assert same == tmp_path
    (tmp_path / NOT_UTF8).mkdir()
    with utf8_path(tmp_path / NOT_UTF8) as other:
        str(other).encode()
        (other / "x").touch()
    assert not other.exists()
    assert (tmp_path / NOT_UTF8 / "x").exists()
