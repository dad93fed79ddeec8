import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from armoe_jax.images.io import image_size
from armoe_jax.runtime.files import write_atomically
from input_pipeline.image_files import (
    encode_png,
    halve,
    list_images,
    read_image,
    read_rgb,
)


@pytest.fixture
def rgb(photo):
    return photo[:20, :30]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif", ".ppm"])
def test_lossless_formats_are_read_exactly(suffix, tmp_path, rgb):
    path = tmp_path / f"image{suffix}"
    Image.fromarray(rgb).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    np.testing.assert_array_equal(read_rgb(path), rgb)
    assert image_size(path) == (20, 30)


def test_png_round_trip_of_rgb_and_gray(tmp_path, rgb):
    for image in (rgb, rgb[..., :1]):
        write_atomically(tmp_path / "x.png", encode_png(image))
        np.testing.assert_array_equal(read_image(tmp_path / "x.png"), image)
    np.testing.assert_array_equal(read_rgb(tmp_path / "x.png"), rgb[..., :1].repeat(3, 2))


def test_palette_opaque_alpha_and_orientation(tmp_path, rgb):
    picture = Image.fromarray(rgb)
    picture.convert("RGBA").save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(read_image(tmp_path / "opaque.png"), rgb)
    palette = picture.quantize(16)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "palette.png"), np.asarray(palette.convert("RGB"))
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to show it
    picture.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), np.rot90(rgb, -1))
    assert image_size(tmp_path / "turned.png") == (30, 20)


def test_images_of_other_kinds_are_refused_by_name(tmp_path, rgb):
    half_clear = np.dstack([rgb, np.full(rgb.shape[:2], 128, np.uint8)])
    Image.fromarray(half_clear).save(tmp_path / "clear.png")
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for name, message in (
        ("clear.png", "transparent pixels"),
        ("cmyk.jpg", "mode 'CMYK'"),
        ("deep.png", "16 bits per sample"),
    ):
        with pytest.raises(ValueError, match=f"{name}.*{message}"):
            read_image(tmp_path / name)


def test_damaged_files_are_refused_by_name(tmp_path, rgb):
    whole = encode_png(rgb)
    for name, data in (("cut", whole[:200]), ("empty", b""), ("text", b"no image at all")):
        path = tmp_path / f"{name}.png"
        path.write_bytes(data)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read_image(path)
    with pytest.raises(ValueError, match=r"text\.png: cannot be read as an image"):
        image_size(tmp_path / "text.png")
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "absent.png")


def test_listing_sorts_and_ignores_other_files(tmp_path, rgb):
    for name in ("b.png", "a.PNG", "notes.txt"):
        (tmp_path / name).write_bytes(encode_png(rgb))
    assert [path.name for path in list_images(tmp_path)] == ["a.PNG", "b.png"]
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="have the same stem 'a'"):
        list_images(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        list_images(tmp_path / "absent")
    (tmp_path / "void").mkdir()
    with pytest.raises(ValueError, match="holds no image"):
        list_images(tmp_path / "void")


@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 255))
def test_halving_keeps_constant_images(height, width, value):
    image = np.full((height, width, 3), value, np.uint8)
    expected = np.full((height // 2, width // 2, 3), value, np.uint8)
    np.testing.assert_array_equal(halve(image), expected)
    np.testing.assert_array_equal(halve(image[..., :1]), expected[..., :1])


def test_one_pixel_cannot_be_halved():
    with pytest.raises(ValueError, match="1x4 is too small to be halved"):
        halve(np.zeros((4, 1, 3), np.uint8))
