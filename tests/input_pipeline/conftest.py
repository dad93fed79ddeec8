"""Tiny images, real codecs."""

import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from input_pipeline.embedded import embedded_images


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A textured 64x96 part of a photograph."""
    with Image.open(embedded_images("eval")[1]) as picture:
        return np.asarray(picture.convert("RGB"))[100:164, 200:296]


@pytest.fixture
def source_folder(tmp_path: Path, photo: np.ndarray) -> Path:
    """Three images, one of odd size."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name, part in (("a", photo[:32, :48]), ("b", photo[5:38, 20:55]), ("c", photo[32:, 48:])):
        Image.fromarray(part).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="session")
def write_program() -> Callable[[Path, str], Path]:
    """Writes a Python script that can be run by its name."""

    def write(path: Path, body: str) -> Path:
        path.write_text(f"#!{sys.executable}\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return write
