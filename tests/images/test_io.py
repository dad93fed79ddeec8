"""Reading and writing images of every kind."""

import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from armoe_jax.images.io import FORMATS, Picture, read_image, write_image
from armoe_jax.images.png16 import encode_png16

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def rgb():
    """A smooth picture of 24x37 (odd width), so that lossy formats stay close."""
    y, x = np.mgrid[:24, :37]
    return np.stack([4 * y + 2 * x, 250 - 6 * y, 3 * x + 60], -1).astype(np.uint8)


@pytest.fixture(scope="module")
def rgb16(rgb):
    return rgb.astype(np.uint16) * 256 + 3


@pytest.mark.parametrize("suffix", sorted(FORMATS))
@pytest.mark.parametrize("gray", [False, True])
def test_round_trip_of_8_bits(tmp_path, rgb, suffix, gray):
    pixels = rgb[..., 1] if gray else rgb
    write_image(tmp_path / f"a{suffix}", Picture(pixels, icc_profile=PROFILE))
    back = read_image(tmp_path / f"a{suffix}")
    # WebP and AVIF always hold RGB; the lossy formats stay within a few levels.
    values = back.pixels[..., 1] if gray and suffix in (".webp", ".avif") else back.pixels
    assert values.dtype == np.uint8
    tolerance = 0 if suffix in (".png", ".tif", ".tiff", ".webp", ".bmp") else 8
    np.testing.assert_allclose(values.astype(int), pixels, atol=tolerance)
    assert back.icc_profile == (None if suffix == ".bmp" else PROFILE)
    assert back.alpha is None


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
def test_alpha_round_trip_of_8_bits(tmp_path, rgb, suffix):
    alpha = rgb[..., 0]
    write_image(tmp_path / f"a{suffix}", Picture(rgb, alpha=alpha))
    back = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(back.pixels, rgb)
    np.testing.assert_array_equal(back.alpha, alpha)


@pytest.mark.parametrize(
    ("suffix", "gray", "with_alpha"),
    [
        (".png", False, False),
        (".png", False, True),
        (".png", True, False),
        (".png", True, True),
        (".tiff", False, False),
        (".tiff", False, True),
        (".tiff", True, False),
        (".tiff", True, True),
    ],
)
def test_round_trip_of_16_bits(tmp_path, rgb16, suffix, gray, with_alpha):
    pixels = rgb16[..., 0] if gray else rgb16
    alpha = rgb16[..., 2] if with_alpha else None
    picture = Picture(pixels, alpha=alpha, icc_profile=PROFILE)
    write_image(tmp_path / f"a{suffix}", picture)
    back = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(back.pixels, pixels)
    assert back.icc_profile == PROFILE
    if with_alpha:
        np.testing.assert_array_equal(back.alpha, alpha)
    else:
        assert back.alpha is None


def test_16_bit_files_of_opencv_are_read(tmp_path, rgb16):
    for suffix in (".png", ".tiff"):
        cv2.imwrite(str(tmp_path / f"a{suffix}"), rgb16[..., ::-1])
        np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").pixels, rgb16)


def test_16_bit_png_is_read_by_opencv(rgb16):
    decoded = cv2.imdecode(np.frombuffer(encode_png16(rgb16), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(np.asarray(decoded)[..., ::-1], rgb16)
    with pytest.raises(ValueError, match="uint8"):
        encode_png16(np.zeros((2, 2), np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_exif_orientation_is_applied_and_removed(tmp_path, rgb, rgb16, orientation, deep):
    # Pillow's own transposition of the stored picture is the oracle.
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"
    path = tmp_path / "a.png"
    if deep:
        path.write_bytes(encode_png16(rgb16, exif=exif.tobytes()))
    else:
        Image.fromarray(rgb).save(path, exif=exif.tobytes())
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    back = read_image(path)
    np.testing.assert_array_equal(back.pixels >> 8 if deep else back.pixels, upright)
    write_image(tmp_path / "b.png", back)
    with Image.open(tmp_path / "b.png") as image:
        assert image.getexif().get(0x0112) is None
        assert image.getexif().get(0x010F) == "maker"


def test_palette_bilevel_and_transparency(tmp_path, rgb):
    palette = Image.fromarray(rgb).quantize(16)
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "p.png").pixels, np.asarray(palette.convert("RGB"))
    )
    palette.save(tmp_path / "t.png", transparency=3)
    picture = read_image(tmp_path / "t.png")
    np.testing.assert_array_equal(picture.alpha == 0, np.asarray(palette) == 3)
    bilevel = Image.fromarray(rgb[..., 0] > 90)
    bilevel.save(tmp_path / "b.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "b.png").pixels, 255 * (rgb[..., 0] > 90).astype(np.uint8)
    )


def test_unreadable_files_are_refused_in_one_line(tmp_path, rgb):
    path = tmp_path / "x.png"
    with pytest.raises(FileNotFoundError):
        read_image(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"x\.png: the file is empty"):
        read_image(path)
    path.write_bytes(b"hello world, this is no image at all")
    with pytest.raises(ValueError, match=r"x\.png: .*not an image"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".avif"])
def test_truncated_files_are_refused(tmp_path, rgb, suffix):
    path = tmp_path / f"x{suffix}"
    noisy = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    write_image(path, noisy)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="cannot be read as an image"):
        read_image(path)


def test_a_truncated_16_bit_png_is_refused(tmp_path):
    noisy = np.random.default_rng(0).integers(0, 65536, (64, 64, 3), np.uint16)
    path = tmp_path / "x.png"
    data = encode_png16(noisy)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="cannot be read as an image"):
        read_image(path)


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_damaged_headers_are_refused_or_read(tmp_path, rgb, suffix):
    # Whatever a byte of the header becomes, nothing but ValueError comes out.
    path = tmp_path / f"x{suffix}"
    write_image(path, rgb)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for position in rng.integers(0, min(len(data), 300), 40):
        damaged = bytearray(data)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            read_image(path)
        except ValueError:
            refused += 1
    assert refused


def test_tags_of_the_wrong_type_are_refused(tmp_path, rgb16):
    path = tmp_path / "x.tiff"
    tifffile.imwrite(path, rgb16, photometric="rgb")
    data = path.read_bytes()
    # The entry of BitsPerSample (258): tag, type 3 (16 bits), count; then of type 5, fractions.
    entry = data.index(np.array([258, 3], "<u2").tobytes())
    path.write_bytes(data[: entry + 2] + b"\5\0" + data[entry + 4 :])
    with pytest.raises(ValueError, match=r"x\.tiff: cannot be read as an image"):
        read_image(path)


def test_cmyk_float_and_other_formats_are_refused(tmp_path, rgb):
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "c.jpg")
    with pytest.raises(ValueError, match=r"c\.jpg: .*'CMYK'.*convert it to RGB"):
        read_image(tmp_path / "c.jpg")
    tifffile.imwrite(tmp_path / "f.tiff", rgb.astype(np.float32), photometric="rgb")
    with pytest.raises(ValueError, match=r"f\.tiff: .*32 bits, float32"):
        read_image(tmp_path / "f.tiff")
    tifffile.imwrite(tmp_path / "i.tiff", rgb[..., 0].astype(np.uint32))
    with pytest.raises(ValueError, match=r"i\.tiff"):
        read_image(tmp_path / "i.tiff")
    Image.fromarray(rgb).save(tmp_path / "g.gif")
    with pytest.raises(ValueError, match="GIF is not supported"):
        read_image(tmp_path / "g.gif")


def test_animations_and_pages_are_refused(tmp_path, rgb):
    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="2 frames"):
        read_image(tmp_path / "a.webp")
    frames[0].save(tmp_path / "a.tiff", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="2 frames"):
        read_image(tmp_path / "a.tiff")


def test_nothing_is_lost_silently(tmp_path, rgb, rgb16):
    with pytest.raises(ValueError, match="transparency"):
        write_image(tmp_path / "a.jpg", Picture(rgb, alpha=rgb[..., 0]))
    with pytest.raises(ValueError, match="16 bits"):
        write_image(tmp_path / "a.webp", rgb16)
    with pytest.raises(ValueError, match=r"\.gif"):
        write_image(tmp_path / "a.gif", rgb)
    with pytest.raises(ValueError, match="float64"):
        write_image(tmp_path / "a.png", rgb / 255)
    with pytest.raises(ValueError, match="alpha is"):
        Picture(rgb, alpha=rgb16[..., 0])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, rgb, monkeypatch):
    path = tmp_path / "a.png"
    write_image(path, rgb)
    before = path.read_bytes()

    def fail(self, data):
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError("no space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(OSError, match="no space"):
        write_image(path, 255 - rgb)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_quality_changes_the_size(tmp_path):
    noisy = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for suffix in (".jpg", ".webp", ".avif"):
        write_image(tmp_path / f"low{suffix}", noisy, quality=10)
        write_image(tmp_path / f"high{suffix}", noisy)
        low, high = (tmp_path / f"{name}{suffix}" for name in ("low", "high"))
        assert low.stat().st_size < high.stat().st_size / 2


def test_png16_profile_chunk_is_standard(rgb16):
    data = encode_png16(rgb16, icc_profile=PROFILE)
    start = data.index(b"iCCP") + 4
    name, compressed = data[start:].split(b"\0\0", 1)
    assert name == b"ICC profile"
    assert zlib.decompressobj().decompress(compressed) == PROFILE
