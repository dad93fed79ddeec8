"""Files that appear whole or not at all."""

import os
import threading
from pathlib import Path


def write_atomically(path: str | Path, data: bytes | str) -> None:
    """Writes a file beside its place and renames it there; makes missing folders.

    Raises:
        OSError: If the folder or the file cannot be written; nothing is left behind then.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
