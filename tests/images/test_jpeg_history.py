"""Codings that an image went through, found in its pixels."""

import io

import numpy as np
import pytest
from jpeg_parts import cut_out
from PIL import Image, ImageDraw
from skimage.data import chelsea, coffee

from armoe_jax.images.jpeg import JpegCoding, JpegNote, encode_jpeg, read_jpeg_coding
from armoe_jax.images.jpeg_history import find_codings, find_first_coding


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Colours whose amplitudes fall with the frequency, as those of photographs do."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(width), np.fft.fftfreq(height)))
    waves = np.fft.fft2(rng.normal(0, 1, (3, height, width))) / np.maximum(frequency, 1 / width)
    gray, *colours = np.fft.ifft2(waves).real
    planes = np.stack([gray + 0.3 * colour for colour in (colours[0], 0 * gray, colours[1])], -1)
    return np.clip(128 + 45 * planes / planes.std(), 0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, quality: int) -> tuple[np.ndarray, JpegCoding]:
    """A file as it is decoded, and what it tells."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    coding = read_jpeg_coding(buffer.getvalue())
    assert isinstance(coding, JpegCoding)
    return np.asarray(Image.open(buffer)), coding


@pytest.mark.parametrize("quality", [5, 30, 75, 95])
@pytest.mark.parametrize("grid", [(0, 0), (3, 13)])
def test_a_jpeg_saved_as_png_is_recognised(quality, grid):
    top, left = grid
    whole, coding = encode_jpeg(photograph(128 + top, 144 + left), quality=quality)
    pixels, coding = whole[top:, left:], cut_out(coding, top, left, 128, 144)
    found = find_first_coding(pixels)
    assert found is not None
    assert (found.quality, found.offset, found.size) == (quality, coding.offset, (128, 144))
    assert (found.subsampling, found.describe()) == ("unknown", f"quality {quality}")
    np.testing.assert_array_equal(found.luma_table, coding.luma_table)
    np.testing.assert_array_equal(found.chroma_table, coding.chroma_table)
    assert found.inside.sum() == (16 * 18 if grid == (0, 0) else 15 * 17)
    agree = (np.rint(found.luma) == coding.luma)[found.inside].mean()
    assert agree > (0.995 if quality < 90 else 0.97)  # there, steps are 2 and less


@pytest.mark.parametrize(("first", "second"), [(10, 75), (30, 75), (50, 95), (70, 95)])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (5, 2)])
def test_the_first_of_two_codings_is_found(first, second, top, left):
    once, before = jpeg(photograph(128, 144), first)
    twice, after = jpeg(once[top:, left:], second)
    found = find_first_coding(twice, after)
    assert found is not None
    assert (found.quality, found.offset, found.subsampling) == (first, (top, left), "4:2:0")
    agree = np.rint(found.luma) == before.luma
    assert agree[found.inside].mean() > (0.999 if first < second / 3 else 0.98)


@pytest.mark.parametrize(
    ("first", "second", "top", "left"),
    [(70, 75, 3, 3), (50, 60, 0, 4), (80, 85, 7, 2), (88, 90, 4, 4), (75, 75, 3, 5)],
)
def test_a_first_coding_is_found_behind_one_as_strong_on_other_blocks(first, second, top, left):
    once, _ = jpeg(chelsea()[:200, :200], first)
    twice, after = jpeg(once[top:, left:], second)
    found = find_first_coding(twice, after)
    assert found is not None
    assert (found.offset, found.size) == ((top, left), twice.shape[:2])
    assert abs(found.quality - first) <= 2
    turned = find_first_coding(np.rot90(twice, -1), after.turned(6))
    assert turned is not None
    assert turned.offset == found.turned(6).offset
    np.testing.assert_array_equal(turned.luma_table, found.luma_table.T)


@pytest.mark.parametrize(("first", "second"), [(80, 75), (75, 70), (90, 75)])
def test_a_coarser_second_coding_is_all_that_counts_on_any_blocks(first, second):
    once, _ = jpeg(chelsea()[:200, :200], first)
    assert find_first_coding(*jpeg(once[3:, 5:], second)) is None


@pytest.mark.parametrize("quality", [5, 10, 20, 30, 40, 60, 80, 95])
@pytest.mark.parametrize("original", [chelsea()[:200, :200], coffee()[96:224, 160:288]])
def test_a_photograph_saved_once_has_no_history(original, quality):
    assert find_first_coding(*jpeg(np.ascontiguousarray(original), quality)) is None


def test_integers_in_doubt_are_expected_between_the_possible_ones():
    once, before = jpeg(chelsea()[:200, :200], 70)
    twice, after = jpeg(once[3:, 3:], 75)
    found = find_first_coding(twice, after)
    assert found is not None
    truth = cut_out(before, 3, 3, 197, 197).luma[found.inside]
    expected = found.luma[found.inside]
    rounded = np.rint(expected)
    assert ((expected - truth) ** 2).mean() < 0.9 * ((rounded - truth) ** 2).mean()
    assert np.abs(expected - rounded).max() <= 0.5


def test_turned_and_gray_images():
    pixels, coding = encode_jpeg(photograph(96, 112)[..., 0], quality=40)
    found = find_first_coding(np.rot90(pixels))
    assert found is not None
    assert (found.quality, found.subsampling, found.chroma_table) == (40, "gray", None)
    np.testing.assert_array_equal(found.luma_table, coding.luma_table.T)
    again = find_first_coding(pixels[..., None])
    assert again is not None
    assert again.size == (96, 112)


@pytest.mark.parametrize("quality", [5, 30, 60, 75, 85, 90, 95, 98, 100])
def test_a_file_saved_once_has_no_history(quality):
    pixels, coding = jpeg(photograph(112, 96, seed=quality), quality)
    assert find_first_coding(pixels, coding) is None


def test_a_coarser_second_coding_is_all_that_counts():
    once, _ = jpeg(photograph(96, 112), 90)
    assert find_first_coding(*jpeg(once, 40)) is None


def drawing() -> np.ndarray:
    """A window with rows of letters, all the same: coefficients repeat."""
    image = Image.new("RGB", (160, 128), (240, 240, 240))
    draw = ImageDraw.Draw(image)
    for y in range(4, 120, 16):
        draw.rectangle((8, y, 150, y + 11), fill=(200, 210, 235), outline=(90, 90, 90))
        draw.text((12, y), "Settings and more", fill=(20, 20, 20))
    return np.asarray(image)


@pytest.mark.parametrize(
    "pixels",
    [
        photograph(96, 112),
        np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8),
        drawing(),
        np.tile(np.arange(0, 256, 16, dtype=np.uint8), (64, 8)),
        np.indices((64, 64)).sum(0).astype(np.uint8) // 4 % 2 * 255,
        np.full((64, 64, 3), 77, np.uint8),
        photograph(15, 200),
        photograph(96, 112).astype(np.uint16) * 257,
    ],
    ids=["photograph", "noise", "drawing", "ramp", "checks", "flat", "narrow", "16 bits"],
)
def test_uncoded_images_have_no_history(pixels):
    assert find_first_coding(pixels) is None


def test_a_drawing_saved_as_jpeg_and_png_is_recognised():
    found = find_first_coding(jpeg(drawing(), 60)[0])
    assert found is not None
    assert (found.quality, found.offset) == (60, (0, 0))


@pytest.mark.parametrize(
    ("saved", "by_file", "by_pixels"),
    [
        ({"format": "JPEG", "quality": 75}, 75, None),  # nothing was coded before
        ({"format": "PNG"}, None, 30),
        ({"format": "JPEG", "quality": 95}, 95, 30),  # what is coarser is believed
    ],
)
def test_codings_by_file_and_pixels(saved, by_file, by_pixels):
    original = photograph(128, 144)
    pixels = original if by_pixels is None else jpeg(original, by_pixels)[0]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **saved)
    found = find_codings(buffer.getvalue(), np.asarray(Image.open(buffer)))
    if isinstance(found.file, JpegNote):
        assert (by_file, str(found.file)) == (None, "it is not a JPEG")
    else:
        assert found.file.quality == by_file
    assert (found.first and found.first.quality) == by_pixels
    assert found.believed is not None
    assert found.believed.quality == (by_pixels or by_file)


def test_nothing_is_believed_of_what_was_never_coded():
    buffer = io.BytesIO()
    Image.fromarray(photograph(128, 144)).save(buffer, "PNG")
    assert find_codings(buffer.getvalue(), photograph(128, 144)).believed is None
