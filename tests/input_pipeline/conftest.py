"""Tiny images, real codecs."""

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
