"""A file is believed whatever its coefficients tell beyond the 8-bit pixels."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage.data import chelsea, coffee

from armoe_jax import load_pretrained, psnr
from armoe_jax.images.jpeg import read_jpeg_coding


@pytest.fixture(scope="module")
def restorer():
    return load_pretrained("car_small_jpeg")


@pytest.mark.parametrize("original", [chelsea()[64:192, 96:224], coffee()[96:224, 160:288]])
@pytest.mark.parametrize("quality", [30, 80, 90, 95])
def test_a_file_helps(restorer, original, quality):
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(original)).save(buffer, "JPEG", quality=quality)
    coded = np.asarray(Image.open(buffer))
    coding = read_jpeg_coding(buffer.getvalue())
    from_file = psnr(restorer(coded, coding=coding), original, y_only=True)
    from_pixels = psnr(restorer(coded), original, y_only=True)
    assert from_file > from_pixels
    assert from_file > psnr(coded, original, y_only=True) + 0.2
