"""What JPEG files tell beyond their pixels."""

import io
import itertools

import numpy as np
import pytest
from made_jpegs import jpeg, luma_of, picture, read
from PIL import Image, ImageOps

from armoe_jax.images.jpeg import JpegCoding, JpegNote, encode_jpeg, read_jpeg_coding

ORIENTATION = 0x112


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_what_is_said_of_a_file(subsampling):
    coding = read(jpeg(picture(24, 24), quality=35, subsampling=subsampling))
    assert coding.subsampling == subsampling
    assert coding.quality == 35
    assert coding.has_libjpeg_tables
    assert coding.describe() == f"quality 35, {subsampling}, tables of libjpeg"


@pytest.mark.parametrize("quality", [1, 24, 25, 49, 50, 51, 90, 99, 100])
def test_quality_from_the_tables(quality):
    assert read(jpeg(picture(16, 16), quality=quality)).quality == quality


def test_quality_of_foreign_tables_is_an_estimate():
    tables = [[20] * 64, [20] * 64]
    coding = read(jpeg(picture(24, 24), qtables=tables))
    assert not coding.has_libjpeg_tables
    assert coding.chroma_table is not None
    # The geometric mean of libjpeg's luma steps is 20 between qualities 75 and 85.
    assert 75 < coding.quality < 85
    assert coding.describe() == f"quality about {coding.quality}, 4:2:0, tables of its own"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(32, 48), (29, 43)])
def test_exif_turns_the_coefficients_with_the_pixels(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = jpeg(picture(*size), quality=60, exif=exif)
    path = tmp_path / "turned.jpg"
    path.write_bytes(data)
    coding = read_jpeg_coding(path)
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
    assert isinstance(coding, JpegCoding)
    assert coding.size == upright.size[::-1]
    assert coding.quality == 60
    assert coding.has_libjpeg_tables
    stored = Image.fromarray(luma_of(data).astype(np.int32))
    stored.getexif()[ORIENTATION] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_allclose(np.clip(coding.decoded_luma(), -128, 127), expected, atol=0.6)
    (top, bottom), (left, right) = coding.padding
    assert (top, left) == coding.offset
    assert sorted([top + bottom, left + right]) == sorted(-size[i] % 8 for i in (0, 1))
    assert coding.luma.shape[:2] == coding.certain.shape


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_jpeg_coding(tmp_path / "none.jpg")


def test_mpo_is_read_as_its_first_picture():
    pixels = picture(24, 32)
    buffer = io.BytesIO()
    second = Image.fromarray(255 - pixels)
    Image.fromarray(pixels).save(buffer, "MPO", save_all=True, append_images=[second], quality=60)
    assert np.array_equal(read(buffer.getvalue()).luma, read(jpeg(pixels, quality=60)).luma)


def damaged(seed: int) -> bytes:
    """Cuts, flips bits, writes random bytes, or splices segments into small JPEGs."""
    random = np.random.default_rng(seed)
    kinds = itertools.product([False, True], [20, 60, 93])
    progressive, quality = list(kinds)[seed % 6]
    size = random.integers(8, 70, 2)
    data = bytearray(jpeg(picture(*size, seed), quality=quality, progressive=progressive))
    kind = random.integers(4)
    if kind == 0:
        return bytes(data[: random.integers(len(data))])
    if kind == 3:
        place, start = random.integers(2, 600, 2)
        data[place:place] = data[start : start + random.integers(1, 200)]
        return bytes(data)
    for place in random.integers(2, len(data), random.choice([1, 4, 30])):
        data[place] = random.integers(256) if kind == 1 else data[place] ^ 1 << random.integers(8)
    return bytes(data)


def damage_leaves_a_coding_or_a_note(seeds) -> int:
    """Counts the files that are read all the same; those must agree with Pillow's decoder."""
    agreeing = 0
    for data in map(damaged, seeds):
        coding = read_jpeg_coding(data)
        assert isinstance(coding, JpegCoding | JpegNote)
        try:
            expected = luma_of(data)
        except (OSError, SyntaxError):
            continue  # Pillow stumbles over segments that the coding does not need
        if isinstance(coding, JpegNote):
            continue
        assert coding.size == expected.shape
        height, width = coding.size
        certain = np.repeat(np.repeat(coding.certain, 8, 0), 8, 1)[:height, :width]
        luma = np.clip(coding.decoded_luma(), -128, 127)
        np.testing.assert_allclose(luma[certain], expected[certain], atol=0.65)
        agreeing += 1
    return agreeing


def test_damaged_files_end_nothing():
    assert damage_leaves_a_coding_or_a_note(range(60)) > 5


@pytest.mark.slow
def test_a_thousand_damaged_files_end_nothing():
    assert damage_leaves_a_coding_or_a_note(range(60, 1060)) > 100


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_coding_on_the_fly(subsampling):
    pixels = picture(44, 53)
    decoded, coding = encode_jpeg(pixels, quality=30, subsampling=subsampling)
    data = jpeg(pixels, quality=30, subsampling=subsampling)
    np.testing.assert_array_equal(decoded, np.asarray(Image.open(io.BytesIO(data))))
    assert decoded.dtype == np.uint8
    assert coding.certain.all()
    assert (coding.size, coding.offset) == ((44, 53), (0, 0))
    assert (coding.quality, coding.subsampling) == (30, subsampling)
    np.testing.assert_array_equal(coding.luma, read(data).luma)


@pytest.mark.parametrize("channels", [(), (1,)])
def test_coding_a_gray_image(channels):
    pixels = picture(16, 24)[..., 0].reshape(16, 24, *channels)
    decoded, coding = encode_jpeg(pixels, quality=40)
    assert decoded.shape == pixels.shape
    assert coding.subsampling == "gray"
    assert coding.chroma_table is None
    luma = np.clip(coding.decoded_luma(), -128, 127)
    np.testing.assert_allclose(luma.reshape(pixels.shape), decoded - 128.0, atol=0.6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 0}, "quality is 0"),
        ({"quality": 101}, "quality is 101"),
        ({"quality": 50, "subsampling": "4:1:1"}, "subsampling is '4:1:1'"),
    ],
)
def test_what_cannot_be_coded_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        encode_jpeg(picture(16, 16), **options)


def test_images_of_other_kinds_cannot_be_coded():
    with pytest.raises(ValueError, match=r"uint8 \(16, 16, 4\)"):
        encode_jpeg(np.zeros((16, 16, 4), np.uint8), quality=50)


def test_floats_cannot_be_coded():
    with pytest.raises(ValueError, match="float64"):
        encode_jpeg(np.zeros((16, 16)), quality=50)
