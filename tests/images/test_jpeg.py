"""What JPEG files tell beyond their pixels.

`jpeg/` holds small files of the odder kinds, written by cjpeg from one made-up picture with noise
of 0 and 255, white and smooth parts, and in `integers.npz` their luma coefficients as libjpeg's own
reader gave them.
"""

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, features
from scipy.fft import dctn

from armoe_jax.images.jpeg import JpegCoding, JpegNote, encode_jpeg, read_jpeg_coding
from armoe_jax.images.jpeg_header import ZIGZAG

FILES = Path(__file__).parent / "jpeg"
INTEGERS = np.load(FILES / "integers.npz")
ORIENTATION = 0x112


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


@pytest.mark.parametrize("name", INTEGERS.files)
def test_the_integers_are_those_that_libjpeg_reads(name):
    if "arithmetic" in name and not features.check("libjpeg_turbo"):
        pytest.skip("arithmetic coding needs libjpeg-turbo")
    coding = read((FILES / f"{name}.jpg").read_bytes())
    np.testing.assert_array_equal(coding.luma, INTEGERS[name])
    assert coding.size == (45, 53)
    kind = "gray" if name == "gray" else ":".join(name[-3:])
    assert coding.subsampling == kind
    assert coding.certain.mean() > 0.8


@pytest.mark.parametrize("quality", [5, 30, 50, 75, 92, 100])
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_coefficients_decode_to_the_luma_of_the_file(quality, gray, progressive):
    pixels = picture(35, 61)
    data = jpeg(pixels[..., 0] if gray else pixels, quality=quality, progressive=progressive)
    luma = read(data).decoded_luma()
    assert luma.dtype == np.float32
    # Half a level of rounding, and the integer transform of the decoder.
    np.testing.assert_allclose(np.clip(luma, -128, 127), luma_of(data), atol=0.6)


@pytest.mark.parametrize("quality", [10, 50, 77])
def test_integers_of_a_gray_image_by_definition(quality):
    """Quantises the DCT of the pixels; values near a half may go either way in the encoder."""
    pixels = picture(32, 40)[..., 0]
    coding = read(jpeg(pixels, quality=quality))
    blocks = pixels.reshape(4, 8, 5, 8).swapaxes(1, 2) - 128.0
    exact = dctn(blocks, axes=(2, 3), norm="ortho") / coding.luma_table
    assert np.abs(coding.luma - exact).max() < 0.55
    assert (coding.luma == np.rint(exact)).mean() > 0.99
    assert coding.certain.all()


def test_flat_blocks_keep_their_mean():
    """Steps of 3 are finer than pixels; 48 levels about the middle are told apart all the same."""
    levels = np.arange(100, 148, dtype=np.uint8)
    coding = read(jpeg(np.repeat(np.repeat(levels[None], 8, 0), 8, 1), quality=90))
    assert coding.luma_table[0, 0] == 3
    # A flat block's coefficient is 8 times its level: round(8 (level - 128) / 3).
    expected = np.rint(8 * (levels - 128.0) / 3)
    np.testing.assert_array_equal(coding.luma[0, :, 0, 0], expected)
    assert coding.certain[0, np.abs(expected) < 127].all()


def test_a_mean_that_no_pixel_tells_is_in_doubt_and_within_half_a_level():
    """Levels from -128 on make coefficients from -341, of which each pixel value fits three."""
    levels = np.arange(0, 60, 4, dtype=np.uint8)
    data = jpeg(np.repeat(np.repeat(levels[None], 8, 0), 8, 1), quality=90)
    coding = read(data)
    assert not coding.certain.any()
    np.testing.assert_allclose(coding.decoded_luma(), luma_of(data), atol=0.6)


def test_tables_come_in_natural_order():
    luma, chroma = np.arange(1, 65).reshape(8, 8), np.arange(65, 129).reshape(8, 8)
    tables = [luma.ravel().tolist(), chroma.ravel().tolist()]
    coding = read(jpeg(picture(16, 16), qtables=tables))
    np.testing.assert_array_equal(coding.luma_table, luma)
    np.testing.assert_array_equal(coding.chroma_table, chroma)
    assert coding.luma_table.dtype == coding.chroma_table.dtype == np.uint16


def test_zigzag_order():
    # The first and last diagonals of figure A.6 of T.81.
    assert ZIGZAG[:10].tolist() == [0, 1, 8, 16, 9, 2, 3, 10, 17, 24]
    assert ZIGZAG[-6:].tolist() == [61, 54, 47, 55, 62, 63]


def test_tables_wider_than_a_byte():
    coding = read((FILES / "wide_tables_444.jpg").read_bytes())
    # Quality 3 is a scale of 5000 // 3 = 1666 %: (16 * 1666 + 50) // 100 = 267.
    assert coding.luma_table[0, 0] == 267
    assert (coding.quality, coding.has_libjpeg_tables) == (3, True)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_what_is_said_of_a_file(subsampling):
    coding = read(jpeg(picture(24, 24), quality=35, subsampling=subsampling))
    assert coding.subsampling == subsampling
    assert coding.quality == 35
    assert coding.has_libjpeg_tables
    assert coding.describe() == f"quality 35, {subsampling}, tables of libjpeg"
    assert coding.log2_luma_step == pytest.approx(np.log2(coding.luma_table.mean()))


@pytest.mark.parametrize("quality", [1, 24, 25, 49, 50, 51, 90, 99, 100])
def test_quality_from_the_tables(quality):
    assert read(jpeg(picture(16, 16), quality=quality)).quality == quality


def test_quality_of_foreign_tables_is_an_estimate():
    tables = [[20] * 64, [20] * 64]
    coding = read(jpeg(picture(24, 24), qtables=tables))
    assert not coding.has_libjpeg_tables
    assert coding.chroma_table is not None
    assert coding.log2_luma_step == pytest.approx(4.3219, abs=1e-3)
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


def test_a_part_keeps_its_place_in_the_grid():
    coding = read(jpeg(picture(40, 50), quality=40))
    part = coding.crop(11, 16, 20, 13)
    assert (part.size, part.offset) == ((20, 13), (3, 0))
    assert part.luma.shape == (3, 2, 8, 8)
    whole = coding.decoded_luma()
    np.testing.assert_allclose(part.decoded_luma(), whole[11:31, 16:29], atol=1e-3)
    again = part.crop(6, 3, 5, 5)
    np.testing.assert_allclose(again.decoded_luma(), whole[17:22, 19:24], atol=1e-3)


@pytest.mark.parametrize("part", [(0, 0, 41, 10), (-1, 0, 4, 4), (0, 0, 0, 4), (38, 0, 4, 4)])
def test_parts_beyond_the_image_are_refused(part):
    with pytest.raises(ValueError, match="no part"):
        read(jpeg(picture(40, 50))).crop(*part)


def without(data: bytes, marker: int) -> bytes:
    start = data.index(bytes([0xFF, marker]))
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]


def patched(data: bytes, marker: int, place: int, value: int) -> bytes:
    """Replaces a byte of the segment after a marker."""
    changed = bytearray(data)
    changed[data.index(bytes([0xFF, marker])) + 4 + place] = value
    return bytes(changed)


PLAIN = jpeg(picture(24, 40), quality=50)
PROGRESSIVE = jpeg(picture(24, 40), quality=50, progressive=True)
CMYK = io.BytesIO()
Image.fromarray(picture(16, 16)).convert("CMYK").save(CMYK, "JPEG")
PNG = io.BytesIO()
Image.fromarray(picture(16, 16)).save(PNG, "PNG")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (PNG.getvalue(), "not a JPEG"),
        (b"", "not a JPEG"),
        (CMYK.getvalue(), "4 colour components"),
        ((FILES / "rgb.jpg").read_bytes(), "red, green and blue"),
        (jpeg(picture(16, 16), keep_rgb=True), "red, green and blue"),
        (patched(PLAIN, 0xC0, 0, 12), "12 bits a sample"),
        (PLAIN.replace(b"\xff\xc0", b"\xff\xc3"), "lossless"),
        (patched(PLAIN, 0xC0, 10, 0x31), "not of full size"),
        (patched(PLAIN, 0xDB, 9, 0), "holds zeros"),
        (without(PLAIN, 0xDB), "missing"),
        (PLAIN[: PLAIN.index(b"\xff\xda")], "a scan or"),
        (PLAIN[:200], "cut off"),
        (PLAIN[:-60], "truncated"),
        (PROGRESSIVE[: PROGRESSIVE.rindex(b"\xff\xda")] + b"\xff\xd9", "last bit"),
    ],
)
def test_why_there_is_no_coding(data, reason):
    note = read_jpeg_coding(data)
    assert isinstance(note, JpegNote)
    assert reason in str(note)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_jpeg_coding(tmp_path / "none.jpg")


def test_mpo_is_read_as_its_first_picture():
    pixels = picture(24, 32)
    buffer = io.BytesIO()
    second = Image.fromarray(255 - pixels)
    Image.fromarray(pixels).save(buffer, "MPO", save_all=True, append_images=[second], quality=60)
    assert np.array_equal(read(buffer.getvalue()).luma, read(jpeg(pixels, quality=60)).luma)


def test_tables_between_scans_count_from_there_on():
    """Chroma's table may follow luma's scan, in the slot that luma used."""
    data = (FILES / "separate_scans_440.jpg").read_bytes()
    scan = data.index(b"\xff\xda", data.index(b"\xff\xda") + 1)
    table = b"\xff\xdb\x00\x43\x00" + bytes(range(1, 65))
    coding = read(data[:scan] + table + data[scan:])
    assert coding.quality == 50
    np.testing.assert_array_equal(coding.luma, INTEGERS["separate_scans_440"])


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
@pytest.mark.parametrize("grid", [(0, 0), (3, 13)])
@pytest.mark.parametrize("exact", [False, True])
def test_coding_on_the_fly(subsampling, grid, exact):
    pixels = picture(48, 56)
    options = {"quality": 30, "subsampling": subsampling, "grid": grid, "exact": exact}
    decoded, coding = encode_jpeg(pixels, **options)
    assert coding.certain.all() == exact
    assert decoded.shape == pixels.shape
    assert decoded.dtype == np.uint8
    assert coding.size == (48, 56)
    assert coding.offset == (grid[0] % 8, grid[1] % 8)
    assert (coding.quality, coding.subsampling) == (30, subsampling)
    # Y of BT.601, which the rounding and clipping of RGB move by up to a level or so.
    luma = decoded @ np.array([0.299, 0.587, 0.114]) - 128
    unclipped = ((decoded > 0) & (decoded < 255)).all(-1)
    np.testing.assert_allclose(luma[unclipped], coding.decoded_luma()[unclipped], atol=1.2)
    if grid == (0, 0):
        data = jpeg(pixels, quality=30, subsampling=subsampling)
        np.testing.assert_array_equal(decoded, np.asarray(Image.open(io.BytesIO(data))))
        assert (coding.luma == read(data).luma).mean() > 0.999


def test_coding_a_gray_image_with_tables():
    luma, chroma = np.full((8, 8), 24), np.full((8, 8), 40)
    pixels = picture(16, 24)[..., 0]
    decoded, coding = encode_jpeg(pixels, tables=(luma, chroma))
    assert coding.subsampling == "gray"
    assert coding.chroma_table is None
    np.testing.assert_array_equal(coding.luma_table, luma)
    np.testing.assert_allclose(np.clip(coding.decoded_luma(), -128, 127), decoded - 128.0, atol=0.6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either a quality or tables"),
        ({"quality": 50, "tables": (np.ones((8, 8)), np.ones((8, 8)))}, "either"),
        ({"quality": 0}, "quality is 0"),
        ({"quality": 50, "subsampling": "4:1:1"}, "subsampling is '4:1:1'"),
        ({"quality": 50, "grid": (0, 16)}, "grid is"),
        ({"tables": (np.zeros((8, 8)), np.ones((8, 8)))}, "expected .8, 8. of 1 to 255"),
    ],
)
def test_what_cannot_be_coded_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        encode_jpeg(picture(16, 16), **options)


def test_floats_cannot_be_coded():
    with pytest.raises(ValueError, match="float64"):
        encode_jpeg(np.zeros((16, 16)), quality=50)
