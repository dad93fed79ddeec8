"""Files and folders that appear complete or not at all."""

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_beside(path: Path, *, overwrite: bool) -> Generator[Path]:
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
    refuse_existing(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as beside:
        new = Path(beside) / "new"
        yield new
        refuse_existing(path, overwrite=overwrite)
        if path.is_dir():
            if not new.is_dir():
                raise IsADirectoryError(f"{path} is a folder; it is not replaced by a file")
            # A folder cannot be replaced in one step: the old one steps aside first.
            os.rename(path, Path(beside) / "old")
        os.replace(new, path)
        shutil.rmtree(Path(beside) / "old", ignore_errors=True)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raises FileExistsError if there is something at `path` that may not be overwritten."""
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; remove it or allow overwriting (--overwrite)")
