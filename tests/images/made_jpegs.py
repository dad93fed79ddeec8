"""JPEG files made for the tests beside, and what they hold by other means.

`jpeg/` has small files of the odder kinds, written by cjpeg from one made-up picture with noise of
0 and 255, white and smooth parts, and in `integers.npz` their luma coefficients as libjpeg's own
reader gave them.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from armoe_jax.images.jpeg import JpegCoding, read_jpeg_coding

FILES = Path(__file__).parent / "jpeg"
INTEGERS = np.load(FILES / "integers.npz")


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours, with noise on the right."""
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([120 + 90 * np.sin(x / 7 + y / 9), 3 * y + 40, 200 - 2 * x], -1)
    noise = np.random.default_rng(seed).normal(0, 25, smooth.shape) * (x > width / 2)[..., None]
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def luma_of(data: bytes) -> np.ndarray:
    """Luma minus 128 as Pillow's decoder gives it, without a way through RGB."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("YCbCr", image.size)
        return np.asarray(image).reshape(*image.size[::-1], -1)[..., 0].astype(float) - 128


def read(data: bytes) -> JpegCoding:
    coding = read_jpeg_coding(data)
    assert isinstance(coding, JpegCoding), coding
    return coding
