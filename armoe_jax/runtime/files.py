"""Files and folders that appear whole or not at all, checksums, and where caches lie."""

import contextlib
import hashlib
import itertools
import os
import shutil
import socket
import tempfile
from collections.abc import Generator
from pathlib import Path

import platformdirs
import psutil

_SUFFIX = ".tmp"
_MAX_NAME = 32  # of the name in a temporary one, which may not be longer than the system allows
_numbers = itertools.count()


@contextlib.contextmanager
def written_beside(path: str | Path, *, overwrite: bool = True) -> Generator[Path]:
    """Gives a place beside `path` to write to, and renames it to `path` at the end.

    Args:
        path: File or folder to appear. Missing parent folders are made.
        overwrite: Whether it may exist already; it is then replaced, at the end.

    Yields:
        A path that does not exist yet; make a file or a folder there. If the block raises, what
        was written is removed and `path` stays as it was.

    Raises:
        FileExistsError: `path` exists and may not be overwritten.
        IsADirectoryError: A file was written, but `path` is a folder.
    """
    path = Path(path)
    refuse_existing(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    new, old = temporary_name(path), temporary_name(path)
    try:
        yield new
        refuse_existing(path, overwrite=overwrite)
        if path.is_dir():
            if not new.is_dir():
                raise IsADirectoryError(f"{path} is a folder; it is not replaced by a file")
            # A folder cannot be replaced in one step: the old one steps aside first.
            path.rename(old)
        if new.is_file():
            _sync(new)
        new.replace(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        _remove(old)
        _remove(new)


def write_atomically(path: str | Path, data: bytes | str) -> None:
    """Writes a file beside its place and renames it there; makes missing folders.

    Args:
        path: File to write, or to replace.
        data: Its bytes, or text to write in UTF-8. What UTF-8 has no code for, such as a byte of
            a file's name that was not UTF-8 itself, is written as an escape.

    Raises:
        OSError: If the folder or the file cannot be written; nothing is left behind then.
    """
    with written_beside(path) as new:
        new.write_bytes(data if isinstance(data, bytes) else to_utf8(data).encode())


def to_utf8(text: str) -> str:
    """Returns a text, such as a file's name, with escapes for what UTF-8 has no code for."""
    return text.encode(errors="backslashreplace").decode()


def refuse_existing(path: str | Path, *, overwrite: bool) -> None:
    """Raises FileExistsError if there is something at `path` that may not be overwritten."""
    if Path(path).exists() and not overwrite:
        raise FileExistsError(f"{path} exists; give --overwrite (overwrite=True) to replace it")


def temporary_name(path: Path) -> Path:
    """Returns a hidden name beside a file, which nobody else uses."""
    owner = f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
    return path.with_name(f".{path.name[:_MAX_NAME]}.{owner}{_SUFFIX}")


def remove_leftovers(folder: str | Path) -> None:
    """Deletes files that processes of this machine left beside what they wrote, when killed.

    Folders stay: one may be what was to be replaced, and the only one left.
    """
    host = f".{socket.gethostname()}"
    for path in Path(folder).glob(f".*{_SUFFIX}"):
        owner, *numbers = path.name.removesuffix(_SUFFIX).rsplit("-", 2)
        is_ours = owner.endswith(host) and len(numbers) == 2 and numbers[0].isdigit()
        if is_ours and path.is_file() and not psutil.pid_exists(int(numbers[0])):
            path.unlink(missing_ok=True)


def sha256_of(path: str | Path) -> str:
    """Returns the SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def user_cache_folder() -> Path:
    """Returns this package's folder among the user's caches; it need not exist."""
    return platformdirs.user_cache_path("armoe-jax", appauthor=False)


@contextlib.contextmanager
def utf8_path(path: str | Path) -> Generator[Path]:
    """Gives a path in UTF-8 to a file or folder, for libraries that take no other names.

    Yields:
        `path` itself if it is in UTF-8, else the same place by way of a symbolic link.
    """
    path = Path(path).absolute()
    if to_utf8(str(path)) == str(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="armoe-") as folder:
        link = Path(folder) / "link"
        link.symlink_to(path)
        yield link


def _sync(file: Path) -> None:
    """Has the file's bytes on disk before its name, so that no crash leaves an empty file."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
