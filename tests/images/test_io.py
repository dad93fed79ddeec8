"""Reading and writing images of every kind."""

import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from armoe_jax.images.io import FORMATS, Picture, image_size, read_image, write_image
from armoe_jax.images.libvips import encode_png

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def gray_profile(gamma: float) -> bytes:
    """Builds a colour profile for gray, which Pillow cannot (ICC.1:2010, section 7)."""
    white = struct.pack(">3i", 63190, 65536, 54061)  # D50, in 1/65536
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"gray\0" + bytes(78),
        b"wtpt": b"XYZ \0\0\0\0" + white,
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(256 * gamma), 0),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
    }
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI", start + len(body), b"lcms", 0x02400000)
    head += b"mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28) + white
    return head.ljust(128, b"\0") + table + body


GRAY_PROFILE = gray_profile(2.2)


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
    color_only = suffix in (".webp", ".avif")
    profile = GRAY_PROFILE if gray and not color_only else PROFILE
    write_image(tmp_path / f"a{suffix}", Picture(pixels, icc_profile=profile))
    back = read_image(tmp_path / f"a{suffix}")
    # WebP and AVIF always hold RGB; the lossy formats stay within a few levels.
    values = back.pixels[..., 1] if gray and color_only else back.pixels
    assert values.dtype == np.uint8
    tolerance = 8 if suffix in (".jpg", ".jpeg", ".avif") else 0
    np.testing.assert_allclose(values.astype(int), pixels, atol=tolerance)
    assert back.icc_profile == (None if suffix in (".bmp", ".ppm", ".pgm") else profile)
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
    profile = GRAY_PROFILE if gray else PROFILE
    picture = Picture(pixels, alpha=alpha, icc_profile=profile)
    write_image(tmp_path / f"a{suffix}", picture)
    back = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(back.pixels, pixels)
    assert back.icc_profile == profile
    if with_alpha:
        np.testing.assert_array_equal(back.alpha, alpha)
    else:
        assert back.alpha is None


def test_16_bit_files_of_opencv_are_read(tmp_path, rgb16):
    for suffix in (".png", ".tiff"):
        cv2.imwrite(str(tmp_path / f"a{suffix}"), rgb16[..., ::-1])
        np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").pixels, rgb16)


def test_16_bit_png_is_read_by_opencv(rgb16):
    decoded = cv2.imdecode(np.frombuffer(encode_png(rgb16), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(np.asarray(decoded)[..., ::-1], rgb16)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_exif_orientation_is_applied_and_removed(tmp_path, rgb, rgb16, orientation, deep):
    # Pillow's own transposition of the stored picture is the oracle.
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"
    path = tmp_path / "a.png"
    if deep:
        path.write_bytes(encode_png(rgb16, exif=exif.tobytes()))
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
    data = encode_png(noisy)
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
    with pytest.raises(ValueError, match=r"f\.tiff: .*32 bits, float"):
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


def test_the_profile_of_a_png_is_standard(rgb16):
    data = encode_png(rgb16, icc_profile=PROFILE)
    start = data.index(b"iCCP") + 4
    name, compressed = data[start:].split(b"\0\0", 1)
    assert name == b"ICC profile"
    assert zlib.decompressobj().decompress(compressed) == PROFILE


@pytest.mark.parametrize("suffix", [".webp", ".avif"])
def test_gray_with_a_profile_becomes_srgb_where_files_hold_rgb_only(tmp_path, suffix):
    # With gamma 1, gray 55 of 255 is 0.2157 of the light, which sRGB shows with 128:
    # 1.055 * 0.2157^(1 / 2.4) - 0.055 = 0.5017 = 127.9 / 255.
    pixels = np.full((16, 16), 55, np.uint8)
    write_image(tmp_path / f"a{suffix}", Picture(pixels, icc_profile=gray_profile(1.0)))
    back = read_image(tmp_path / f"a{suffix}")
    assert back.icc_profile is None
    assert back.pixels.shape == (16, 16, 3)
    np.testing.assert_allclose(back.pixels.astype(int), 128, atol=1)


def test_a_gray_profile_that_says_nothing_is_left_out(tmp_path):
    broken = GRAY_PROFILE[:200]
    write_image(tmp_path / "a.webp", Picture(np.full((4, 4), 9, np.uint8), icc_profile=broken))
    back = read_image(tmp_path / "a.webp")
    assert back.icc_profile is None
    assert (back.pixels == 9).all()


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """Puts a chunk before the first IDAT of a PNG."""
    at = png.index(b"IDAT") - 4
    chunk = struct.pack(">I", len(data)) + kind + data
    return png[:at] + chunk + struct.pack(">I", zlib.crc32(kind + data)) + png[at:]


@pytest.mark.parametrize("gray", [False, True])
def test_the_transparent_colour_of_a_16_bit_png(tmp_path, rgb16, gray):
    pixels = rgb16[..., 0] if gray else rgb16
    clear = np.atleast_1d(pixels[3, 4])
    path = tmp_path / "t.png"
    path.write_bytes(with_chunk(encode_png(pixels), b"tRNS", clear.astype(">u2").tobytes()))
    back = read_image(path)
    np.testing.assert_array_equal(back.pixels, pixels)
    same = (pixels.reshape(24, 37, -1) == clear).all(axis=-1)
    np.testing.assert_array_equal(back.alpha, np.where(same, 0, 65535))


@pytest.mark.parametrize("kind", ["gray", "rgb", "png"])
def test_the_pixel_limit_holds_for_16_bits_before_decoding(tmp_path, rgb16, kind, monkeypatch):
    path = tmp_path / f"a.{'png' if kind == 'png' else 'tif'}"
    write_image(path, rgb16[..., 0] if kind == "gray" else rgb16)
    monkeypatch.setattr("pyvips.Image.numpy", lambda image: pytest.fail("was decoded"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 37 // 2 - 1)  # refused at twice as many
    with pytest.raises(ValueError, match=r"a\.(png|tif): .*decompression bomb"):
        read_image(path)


# Tag 0x010F (maker) of a type that does not exist, or whose text lies behind the end of the block.
ODD_EXIF = {
    "type": struct.pack("<4sIHHHII", b"II*\0", 8, 1, 0x010F, 99, 4, 0) + bytes(4),
    "pointer": struct.pack("<4sIHHHII", b"II*\0", 8, 1, 0x010F, 2, 99, 9999) + bytes(4),
    "short": b"II*\0\x08",
    "noise": b"noise",
    "rational": struct.pack("<4sIHHHII", b"II*\0", 8, 1, 0x0112, 5, 1, 26) + bytes(12),
    "count": struct.pack("<4sIHHHII", b"II*\0", 8, 999, 0x0112, 3, 1, 6) + bytes(4),
}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif"])
@pytest.mark.parametrize("odd", ODD_EXIF)
def test_odd_exif_spoils_no_picture(tmp_path, rgb, suffix, odd):
    path = tmp_path / f"a{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {"quality": 95}
    block = ODD_EXIF[odd]
    # Pillow puts no such block into a file; so one of the same length makes room for it.
    room = struct.pack("<4sIH", b"II*\0", 8, 0).ljust(max(len(block), 14), b"\1")
    Image.fromarray(rgb).save(path, exif=b"Exif\0\0" + room, **options)
    data = path.read_bytes()
    assert data.count(room) == 1
    data = data.replace(room, block.ljust(len(room), b"\0"))
    if suffix == ".png":
        at = data.index(b"eXIf")
        length = struct.unpack(">I", data[at - 4 : at])[0]
        checksum = struct.pack(">I", zlib.crc32(data[at : at + 4 + length]))
        data = data[: at + 4 + length] + checksum + data[at + 8 + length :]
    path.write_bytes(data)
    if (odd, suffix) == ("noise", ".avif"):  # the library for AVIF refuses the whole file
        with pytest.raises(ValueError, match=r"a\.avif: .*Exif"):
            read_image(path)
        return
    back = read_image(path)
    np.testing.assert_allclose(np.sort(back.pixels.ravel()), np.sort(rgb.ravel()), atol=40)
    write_image(tmp_path / f"b{suffix}", back)


def test_the_second_picture_of_an_mpo_is_told(tmp_path, rgb, caplog):
    first, second = Image.fromarray(rgb), Image.fromarray(255 - rgb)
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=95)
    with caplog.at_level("INFO", logger="absl"):
        back = read_image(tmp_path / "a.jpg")
    assert "a.jpg: the first of its 2 pictures is read, the rest left out" in caplog.text
    np.testing.assert_allclose(back.pixels.astype(int), rgb, atol=20)


def test_a_damaged_avif_of_another_name_is_refused(tmp_path, rgb):
    path = tmp_path / "a.avif"
    write_image(path, rgb)
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + 4
    data[middle:] = bytes(len(data) - middle)
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png: cannot be read as an image"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("gray", [False, True])
def test_ppm_of_more_than_8_bits_is_refused(tmp_path, rgb16, gray):
    pixels = rgb16[..., 0] if gray else rgb16
    header = f"P{5 if gray else 6} 37 24 65535\n".encode()
    (tmp_path / "a.ppm").write_bytes(header + pixels.astype(">u2").tobytes())
    with pytest.raises(ValueError, match=r"a\.ppm: holds more than 8 bits"):
        read_image(tmp_path / "a.ppm")


def test_size_is_read_from_the_head(tmp_path, rgb):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    Image.fromarray(rgb).save(tmp_path / "a.jpg", exif=exif)
    assert image_size(tmp_path / "a.jpg") == (37, 24)
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:700])
    assert image_size(tmp_path / "a.jpg") == (37, 24)
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"b\.png: .*not an image"):
        image_size(tmp_path / "b.png")
    with pytest.raises(FileNotFoundError):
        image_size(tmp_path / "c.png")
