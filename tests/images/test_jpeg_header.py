"""Markers of JPEG files: tables, their order, and files without usable luma."""

import io

import numpy as np
import pytest
from made_jpegs import FILES, INTEGERS, jpeg, picture, read
from PIL import Image

from armoe_jax.images.io import write_image
from armoe_jax.images.jpeg import JpegNote, read_jpeg_coding
from armoe_jax.images.jpeg_header import ZIGZAG, is_jpeg


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


def test_tables_between_scans_count_from_there_on():
    """Chroma's table may follow luma's scan, in the slot that luma used."""
    data = (FILES / "separate_scans_440.jpg").read_bytes()
    scan = data.index(b"\xff\xda", data.index(b"\xff\xda") + 1)
    table = b"\xff\xdb\x00\x43\x00" + bytes(range(1, 65))
    coding = read(data[:scan] + table + data[scan:])
    assert coding.quality == 50
    np.testing.assert_array_equal(coding.luma, INTEGERS["separate_scans_440"])


def test_jpeg_is_known_by_its_bytes(tmp_path):
    (tmp_path / "x.png").write_bytes(jpeg(picture(16, 16)))
    assert is_jpeg(tmp_path / "x.png")
    write_image(tmp_path / "x.png", picture(16, 16))
    assert not is_jpeg(tmp_path / "x.png")
