"""Tiny images, real codecs."""

import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from input_pipeline.build import build
from input_pipeline.embedded import embedded_images
from input_pipeline.image_files import list_images
from input_pipeline.manifest import Tree

# Helper modules lie beside the tests.
sys.path.insert(0, str(Path(__file__).parent))


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


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> Path:
    """Trees of JPEG qualities 10, 50 and 90 of five images, and the sources themselves."""
    root = tmp_path_factory.mktemp("built")
    (root / "source").mkdir()
    for number in range(5):
        part = np.roll(photo, 13 * number, 1)[: 40 + number, : 48 + 3 * number]
        Image.fromarray(part).save(root / f"source/{number}.png")
    trees = [Tree(root / f"jpeg/quality{q}", "jpeg", q) for q in (10, 50, 90)]
    build(list_images(root / "source"), trees)
    return root


@pytest.fixture
def config(built: Path, tmp_path: Path) -> dict[str, Any]:
    """Reads the tree of quality 10 in patches of 16."""
    return {
        "source": "built",
        "root": str(built),
        "codec": "jpeg",
        "qp": 10,
        "patch_size": 16,
        "cache_dir": str(tmp_path / "cache"),
    }
