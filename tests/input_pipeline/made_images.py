"""Images whose every pixel tells where it was."""

import numpy as np


def coordinates(height: int, width: int) -> np.ndarray:
    """An image whose channels are its row, its column and 7."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, 7)], -1).astype(np.uint8)


def upscaled(image: np.ndarray, scale: int) -> np.ndarray:
    return image.repeat(scale, 0).repeat(scale, 1)
