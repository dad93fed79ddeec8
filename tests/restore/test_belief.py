"""What a file tells is believed where it is worth it."""

import io

import numpy as np
import pytest
from jpeg_parts import cut_out
from PIL import Image
from skimage.data import chelsea, coffee

from armoe_jax import load_pretrained, psnr
from armoe_jax.images.jpeg import JpegCoding, read_jpeg_coding
from armoe_jax.images.jpeg_history import find_first_coding


def jpeg(pixels: np.ndarray, quality: int) -> tuple[np.ndarray, JpegCoding]:
    """A file as it is decoded, and what it tells."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=quality)
    coding = read_jpeg_coding(buffer.getvalue())
    assert isinstance(coding, JpegCoding)
    return np.asarray(Image.open(buffer)), coding


@pytest.fixture(scope="module")
def restorer():
    return load_pretrained("car_small_jpeg")


@pytest.mark.parametrize("original", [chelsea()[64:192, 96:224], coffee()[96:224, 160:288]])
@pytest.mark.parametrize("quality", [30, 80, 90, 95])
def test_a_file_helps(restorer, original, quality):
    coded, coding = jpeg(original, quality)
    from_file = psnr(restorer(coded, coding=coding), original, y_only=True)
    from_pixels = psnr(restorer(coded), original, y_only=True)
    assert from_file > from_pixels
    assert from_file > psnr(coded, original, y_only=True) + 0.2


def test_the_first_coding_helps_where_the_file_tells_of_a_second_on_other_blocks(restorer):
    original = chelsea()
    once, _ = jpeg(original, 70)
    twice, file = jpeg(once[3:, 3:], 75)
    part, shown = twice[:128, :128], original[3:131, 3:131]
    first = find_first_coding(twice, file)
    gains = [
        psnr(restorer(part, coding=coding), shown, y_only=True) - psnr(part, shown, y_only=True)
        for coding in (
            first and cut_out(first, 0, 0, 128, 128),
            cut_out(file, 0, 0, 128, 128),
            None,
        )
    ]
    assert gains[0] > max(gains[1:]) + 0.02
