"""TIFF files of 16 bits in all their arrangements, written by tifffile and OpenCV."""

import cv2
import numpy as np
import pytest
import pyvips
import tifffile

from armoe_jax.images.io import read_image


@pytest.fixture(scope="module")
def rgba():
    return np.random.default_rng(0).integers(1, 65536, (12, 18, 4), np.uint16)


def read(path, samples, **options):
    tifffile.imwrite(path, samples, **options)
    return read_image(path)


def test_separate_planes(tmp_path, rgba):
    planes = np.ascontiguousarray(np.moveaxis(rgba[..., :3], -1, 0))
    options = {"photometric": "rgb", "planarconfig": "separate"}
    for compression in (None, "zlib"):
        picture = read(tmp_path / "p.tif", planes, compression=compression, **options)
        np.testing.assert_array_equal(picture.pixels, rgba[..., :3])


def test_white_is_zero(tmp_path, rgba):
    picture = read(tmp_path / "w.tif", rgba[..., 0], photometric="miniswhite")
    np.testing.assert_array_equal(picture.pixels, 65535 - rgba[..., 0])


def test_alpha_and_other_fourth_samples(tmp_path, rgba):
    kept = read(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(kept.pixels, rgba[..., :3])
    np.testing.assert_array_equal(kept.alpha, rgba[..., 3])
    other = read(tmp_path / "x.tif", rgba, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(other.pixels, rgba[..., :3])
    assert other.alpha is None


def test_premultiplied_alpha_is_divided_out(tmp_path):
    # 16384 of half opacity (32768 / 65535) was 16384 / (32768 / 65535) = 32767.5; without opacity
    # nothing is left of the colour.
    samples = np.array([[[16384, 32768, 0, 32768], [0, 0, 0, 0]]], np.uint16)
    options = {"photometric": "rgb", "extrasamples": ["assocalpha"]}
    picture = read(tmp_path / "m.tif", samples, **options)
    assert picture.pixels.tolist() in (
        [[[32767, 65535, 0], [0, 0, 0]]],
        [[[32768, 65535, 0], [0, 0, 0]]],
    )
    np.testing.assert_array_equal(picture.alpha, [[32768, 0]])


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"bigtiff": True}])
def test_layouts_of_the_file(tmp_path, rgba, byteorder, options):
    color = np.ascontiguousarray(rgba[..., :3])
    picture = read(tmp_path / "l.tif", color, photometric="rgb", byteorder=byteorder, **options)
    np.testing.assert_array_equal(picture.pixels, color)


def lzw(path, samples):
    """Writes a TIFF with LZW and horizontal prediction, as OpenCV does."""
    options = [cv2.IMWRITE_TIFF_COMPRESSION, int(tifffile.COMPRESSION.LZW)]
    cv2.imwrite(str(path), samples, options)
    return path


def test_lzw_is_read(tmp_path, rgba):
    color = np.ascontiguousarray(rgba[..., 2::-1])
    picture = read_image(lzw(tmp_path / "z.tif", color))
    np.testing.assert_array_equal(picture.pixels, rgba[..., :3])
    np.testing.assert_array_equal(
        read_image(lzw(tmp_path / "g.tif", color[..., 0])).pixels, rgba[..., 2]
    )


@pytest.mark.parametrize("tile", [False, True])
def test_lzw_of_gray_with_alpha(tmp_path, rgba, tile):
    pixels = np.ascontiguousarray(rgba[..., :2])
    image = pyvips.Image.new_from_array(pixels).copy(interpretation="grey16")
    data = image.tiffsave_buffer(compression="lzw", tile=tile, tile_width=16, tile_height=16)
    (tmp_path / "g.tif").write_bytes(data)
    picture = read_image(tmp_path / "g.tif")
    np.testing.assert_array_equal(picture.pixels, pixels[..., 0])
    np.testing.assert_array_equal(picture.alpha, pixels[..., 1])


def test_damaged_lzw_is_refused(tmp_path, rgba):
    path = lzw(tmp_path / "z.tif", np.ascontiguousarray(rgba[..., 2::-1]))
    data = bytearray(path.read_bytes())
    data[8:200] = bytes(192)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"z\.tif: cannot be read as an image"):
        read_image(path)


def test_orientation_is_applied_and_the_profile_kept(tmp_path, rgba):
    color = np.ascontiguousarray(rgba[..., :3])
    # 6: the first row is shown on the right, the first column at the top.
    options = {"photometric": "rgb", "iccprofile": b"profile", "extratags": [(274, 3, 1, 6, True)]}
    picture = read(tmp_path / "o.tif", color, **options)
    np.testing.assert_array_equal(picture.pixels, np.rot90(color, -1))
    assert picture.icc_profile == b"profile"


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9])
def test_truncated_files_are_refused(tmp_path, rgba, compression, kept):
    path = tmp_path / "t.tif"
    tifffile.imwrite(path, rgba[..., :3], photometric="rgb", compression=compression)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ValueError, match=r"t\.tif: cannot be read as an image"):
        read_image(path)


def test_other_samples_are_refused(tmp_path, rgba):
    for samples in (rgba[..., 0].astype(np.int16), rgba[..., 0].astype(np.float16)):
        with pytest.raises(ValueError, match="supported are 8 and 16 bits"):
            read(tmp_path / "n.tif", samples, photometric="minisblack")
    pages = np.stack([rgba[..., :3]] * 2)
    with pytest.raises(ValueError, match="2 pages"):
        read(tmp_path / "n.tif", pages, photometric="rgb")
