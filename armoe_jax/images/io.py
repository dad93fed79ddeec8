"""Reading and writing still images: 8 and 16 bits, gray and RGB, alpha, ICC profile, EXIF.

| | read | written |
|---|---|---|
| PNG | 1 to 16 bits, gray, palette (as RGB), alpha | 8 and 16 bits, alpha, ICC, EXIF |
| TIFF | 8 and 16 bits, one page | 8 and 16 bits, alpha, ICC; no EXIF |
| JPEG | gray, RGB; CMYK is refused | 8 bits, 4:4:4, ICC, EXIF; no alpha |
| WebP | 8 bits; animations are refused | 8 bits, alpha, ICC, EXIF; lossless by default |
| AVIF | 10 and 12 bits are read at 8 | 8 bits, 4:4:4, alpha, ICC, EXIF |
| BMP, PPM, PGM | 8 bits, gray, palette (as RGB) | 8 bits; no alpha, ICC or EXIF |

Pillow reads 8 bits and writes what is lossy or plain; libvips reads 16 bits and writes PNG and
TIFF. EXIF orientation is applied to the pixels and taken out of the tag. NumPy only: worker
processes read images too, and must not start an accelerator.
"""

import contextlib
import dataclasses
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from armoe_jax.images import libvips
from armoe_jax.runtime.errors import one_line
from armoe_jax.runtime.files import write_atomically

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".ppm": "PPM",
    ".pgm": "PPM",
}
"""Suffix -> Pillow's name of the format; also what folders are searched for, by every command."""

DEFAULT_QUALITY = {"JPEG": 99, "AVIF": 90}
"""JPEG of 95 would lose nearly all that restoring a JPEG of quality 80 gains (docs/images.md)."""

_DEEP_FORMATS = ("PNG", "TIFF")
_ALPHA_FORMATS = ("PNG", "TIFF", "WEBP", "AVIF")
_COLOR_ONLY = ("WEBP", "AVIF")  # gray becomes RGB in these
_READABLE = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "AVIF", "BMP", "PPM")
_TURNED = (5, 6, 7, 8)  # orientations of EXIF that exchange rows and columns
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
# What damaged headers make the libraries stumble over; their messages tell a user nothing.
_STUMBLES = (TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)
_BYTE_MODES = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBX": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
}
"""Pillow modes that are read, and what each is converted to."""


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image, upright, and what must survive restoration.

    Attributes:
        pixels: uint8 or uint16; (H, W) gray or (H, W, 3) RGB.
        alpha: Opacity of the same dtype, (H, W), or None.
        icc_profile: The colour profile as stored, or None.
        exif: The EXIF block without its orientation tag, or None.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None

    def __post_init__(self):
        _check_pixels(self.pixels, self.alpha)


def read_image(path: str | Path) -> Picture:
    """Reads one still image.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an image, is truncated, holds several frames, or is of a kind that
            cannot be restored faithfully (CMYK, Lab, floating point, over 16 bits).
    """
    path = Path(path)
    data = path.read_bytes()
    if not data:
        raise ValueError(f"{path}: the file is empty")
    with _errors_that_name(path):
        if data[:4] in _TIFF_MAGIC and libvips.is_deep(data):
            return _decode_deep_tiff(data)
        with Image.open(io.BytesIO(data)) as image:
            return _decode(image, data, path)


def image_size(path: str | Path) -> tuple[int, int]:
    """Returns height and width, read from the file's head and turned by its EXIF orientation.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no image.
    """
    path = Path(path)
    with path.open("rb") as file, _errors_that_name(path), Image.open(file) as image:
        width, height = image.size
        # Without an early EXIF chunk, Pillow would decode a whole PNG to look for a late one.
        has_exif = image.format != "PNG" or "exif" in image.info
        turned = has_exif and _take_orientation(image.getexif()) in _TURNED
    return (width, height) if turned else (height, width)


def write_image(path: str | Path, picture: Picture | np.ndarray, *, quality: int | None = None):
    """Writes an image in the format of its suffix, whole or not at all.

    Args:
        path: A file whose suffix is in FORMATS.
        picture: What to write; bare arrays are uint8 or uint16, (H, W) or (H, W, 3).
        quality: 1 to 100 for JPEG, WebP and AVIF. By default JPEG 99, AVIF 90, WebP lossless.

    Raises:
        ValueError: If the format is unknown or cannot hold the picture's alpha or 16 bits.
        OSError: If the file cannot be written.
    """
    picture = picture if isinstance(picture, Picture) else Picture(picture)
    image_format = format_of(path)
    check_can_hold(image_format, picture)
    data = _encode(picture, image_format, quality)
    write_atomically(path, data)


def format_of(path: str | Path) -> str:
    """Returns Pillow's name of the format that a path's suffix stands for.

    Raises:
        ValueError: If the suffix is unknown.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{path}: unknown image suffix {suffix!r}; known are {sorted(FORMATS)}")
    return FORMATS[suffix]


def check_can_hold(image_format: str, picture: Picture) -> None:
    """Raises ValueError if a format would lose alpha or bits of a picture."""
    if picture.alpha is not None and image_format not in _ALPHA_FORMATS:
        raise ValueError(f"{image_format} cannot hold transparency; write png, tiff, webp or avif")
    if picture.pixels.dtype == np.uint16 and image_format not in _DEEP_FORMATS:
        raise ValueError(f"{image_format} cannot hold 16 bits; write png or tiff")


class _RefusedError(ValueError):
    """An image that is read well enough to know that it cannot be handled."""


@contextlib.contextmanager
def _errors_that_name(path: Path) -> Iterator[None]:
    """Turns whatever the libraries raise about a file into a ValueError of one line."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of files over 89 megapixels (tiles cope; over 179 it refuses) and of odd
            # metadata; whatever spoils the pixels raises.
            warnings.simplefilter("ignore")
            yield
    except (_RefusedError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: {error}") from error
    except _DECODE_ERRORS as error:
        unknown = isinstance(error, UnidentifiedImageError)
        detail = "not an image, or damaged" if unknown else one_line(error)
        raise ValueError(f"{path}: cannot be read as an image: {detail}") from error
    except _STUMBLES as error:
        raise ValueError(f"{path}: cannot be read as an image: it is damaged") from error


def _decode(image: Image.Image, data: bytes, path: Path) -> Picture:
    if image.format not in _READABLE:
        raise _RefusedError(f"{image.format} is not supported; supported are {_READABLE}")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise _RefusedError(f"holds {frames} frames or pages, expected a still image")
    if frames > 1:
        logging.info("%s: the first of its %d pictures is read, the rest left out", path, frames)
    if image.format == "PPM" and _is_deep_ppm(image):
        raise _RefusedError("holds more than 8 bits; convert it to PNG or TIFF, which may have 16")
    image.load()
    exif, orientation = _exif(image, path)
    # The bit depth of a PNG stands in the IHDR chunk, always the first; Pillow's mode hides it.
    deep = image.format == "PNG" and data[24] == 16
    color, alpha = _split_alpha(libvips.read_16_bits(data)[0] if deep else _byte_planes(image))
    return Picture(
        pixels=_upright(color, orientation),
        alpha=None if alpha is None else _upright(alpha, orientation),
        icc_profile=image.info.get("icc_profile"),
        exif=exif,
    )


def _exif(image: Image.Image, path: Path) -> tuple[bytes | None, int]:
    """Returns the EXIF block without its orientation, and that; a damaged block is left out."""
    orientation = 1
    try:
        exif = image.getexif()
        orientation = _take_orientation(exif)
        # The EXIF of a TIFF is its whole tag directory, which describes the old file.
        keep = len(exif) and image.format != "TIFF"
        return (exif.tobytes() if keep else None), orientation
    except (*_DECODE_ERRORS, *_STUMBLES):
        logging.info("%s: its EXIF data are damaged and left out; the picture is sound", path)
        return None, orientation


def _take_orientation(exif: Image.Exif) -> int:
    return exif.pop(ExifTags.Base.Orientation, 1)


def _is_deep_ppm(image: Any) -> bool:
    # Of colour, Pillow keeps 8 bits; its decoder is told the value of white, unless that is 255.
    arguments = image.tile[0].args
    white = arguments[-1] if isinstance(arguments, tuple) else 255
    return image.mode == "I" or (isinstance(white, int) and white > 255)


def _byte_planes(image: Image.Image) -> np.ndarray:
    mode = _BYTE_MODES.get(image.mode)
    if mode is None:
        remedy = "convert it to RGB with a colour-managed program first"
        raise _RefusedError(f"pixels of mode {image.mode!r} are not supported; {remedy}")
    if "transparency" in image.info:
        mode = "RGBA" if mode in ("RGB", "RGBA") else "LA"
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _decode_deep_tiff(data: bytes) -> Picture:
    samples, profile, orientation = libvips.read_16_bits(data)
    color, alpha = _split_alpha(samples)
    return Picture(
        pixels=_upright(color, orientation),
        alpha=None if alpha is None else _upright(alpha, orientation),
        icc_profile=profile,
    )


def _split_alpha(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    if planes.ndim == 2:
        return planes, None
    if planes.shape[2] == 2:
        return planes[..., 0], planes[..., 1]
    return planes[..., :3], planes[..., 3] if planes.shape[2] == 4 else None


def _upright(planes: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes the eight EXIF orientations; unknown values count as upright."""
    if orientation in (2, 3, 4):
        rows, columns = (1, -1)[orientation != 2], (1, -1)[orientation != 4]
        planes = planes[::rows, ::columns]
    elif orientation in _TURNED:
        rows, columns = (1, -1)[orientation in (7, 8)], (1, -1)[orientation in (6, 7)]
        planes = planes.swapaxes(0, 1)[::rows, ::columns]
    return np.ascontiguousarray(planes)


def _check_pixels(pixels: np.ndarray, alpha: np.ndarray | None) -> None:
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"pixels are {pixels.dtype}, expected uint8 or uint16")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3) or not pixels.size:
        raise ValueError(f"pixels have shape {pixels.shape}, expected (H, W) or (H, W, 3)")
    if alpha is not None and (alpha.shape != pixels.shape[:2] or alpha.dtype != pixels.dtype):
        raise ValueError(
            f"alpha is {alpha.dtype} {alpha.shape}, expected {pixels.dtype} {pixels.shape[:2]}"
        )


def _stacked(picture: Picture) -> np.ndarray:
    if picture.alpha is None:
        return picture.pixels
    return np.dstack([picture.pixels, picture.alpha])


def _encode(picture: Picture, image_format: str, quality: int | None) -> bytes:
    if image_format in ("PNG", "TIFF"):
        samples, profile = _stacked(picture), picture.icc_profile
        if image_format == "PNG":
            return libvips.encode_png(samples, icc_profile=profile, exif=picture.exif)
        return libvips.encode_tiff(samples, icc_profile=profile)
    options: dict[str, Any] = {}
    if image_format in DEFAULT_QUALITY:
        options |= {"quality": quality or DEFAULT_QUALITY[image_format], "subsampling": "4:4:4"}
    elif image_format == "WEBP":
        # `exact` keeps the colours below transparent pixels.
        lossless = {"lossless": True, "exact": True}
        options |= lossless if quality is None else {"quality": quality}
    if image_format in _COLOR_ONLY:
        picture = _without_gray_profile(picture)
    if picture.icc_profile:
        options["icc_profile"] = picture.icc_profile
    if picture.exif:
        options["exif"] = picture.exif
    buffer = io.BytesIO()
    Image.fromarray(_stacked(picture)).save(buffer, image_format, **options)
    return buffer.getvalue()


def _without_gray_profile(picture: Picture) -> Picture:
    """Converts gray with a profile for gray to sRGB: the file will hold three channels."""
    profile = picture.icc_profile
    if picture.pixels.ndim == 3 or profile is None or profile[16:20] != b"GRAY":
        return picture
    try:
        converted = ImageCms.profileToProfile(
            Image.fromarray(picture.pixels),
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError):  # a profile that says nothing
        return dataclasses.replace(picture, icc_profile=None)
    return dataclasses.replace(picture, pixels=np.asarray(converted), icc_profile=None)
