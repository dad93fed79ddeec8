"""Reading and writing still images: 8 and 16 bits, gray and RGB, alpha, ICC profile, EXIF.

| | read | written |
|---|---|---|
| PNG | 1 to 16 bits, gray, palette (as RGB), alpha | 8 and 16 bits, alpha, ICC, EXIF |
| TIFF | 8 and 16 bits, one page | 8 and 16 bits, alpha, ICC; no EXIF |
| JPEG | gray, RGB; CMYK is refused | 8 bits, 4:4:4, ICC, EXIF; no alpha |
| WebP | 8 bits; animations are refused | 8 bits, alpha, ICC, EXIF; lossless by default |
| AVIF | 10 and 12 bits are read at 8 | 8 bits, 4:4:4, alpha, ICC, EXIF |
| BMP | 8 bits, gray, palette (as RGB) | 8 bits; no alpha, ICC or EXIF |

Pillow reads and writes 8 bits. It reduces 16-bit colour to 8, so OpenCV reads such PNGs and `png16`
writes them, and `deep_tiff` does both for TIFF. EXIF orientation is applied to the pixels and taken
out of the tag.
"""

import dataclasses
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from armoe_jax.images.png16 import encode_png16
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
}
"""Suffix -> Pillow's name of the format; also what folders are searched for."""

DEFAULT_QUALITY = {"JPEG": 95, "AVIF": 90}

_DEEP_FORMATS = ("PNG", "TIFF")
_ALPHA_FORMATS = ("PNG", "TIFF", "WEBP", "AVIF")
_READABLE = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "AVIF", "BMP")
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
    try:
        if data[:4] in _TIFF_MAGIC and (picture := _deep_tiff(data)):
            return picture
        with warnings.catch_warnings():
            # Pillow warns of files over 89 megapixels (tiles cope; over 179 it refuses) and of odd
            # metadata; whatever spoils the pixels raises.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                return _decode(image, data, path)
    except _RefusedError:
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: {error}") from error
    except _DECODE_ERRORS as error:
        detail = "not an image, or damaged" if "BytesIO" in str(error) else error
        raise ValueError(f"{path}: cannot be read as an image: {detail}") from error
    except _STUMBLES as error:
        raise ValueError(f"{path}: cannot be read as an image: it is damaged") from error


def write_image(path: str | Path, picture: Picture | np.ndarray, *, quality: int | None = None):
    """Writes an image in the format of its suffix, whole or not at all.

    Args:
        path: A file whose suffix is in FORMATS.
        picture: What to write; bare arrays are uint8 or uint16, (H, W) or (H, W, 3).
        quality: 1 to 100 for JPEG, WebP and AVIF. By default JPEG 95, AVIF 90, WebP lossless.

    Raises:
        ValueError: If the format is unknown or cannot hold the picture's alpha or 16 bits.
        OSError: If the file cannot be written.
    """
    picture = picture if isinstance(picture, Picture) else Picture(picture)
    image_format = format_of(path)
    check_can_hold(image_format, picture)
    if picture.pixels.dtype == np.uint16:
        data = _encode_deep(picture, image_format)
    else:
        data = _encode_bytes(picture, image_format, quality)
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


def _decode(image: Image.Image, data: bytes, path: Path) -> Picture:
    if image.format not in _READABLE:
        raise _RefusedError(f"{path}: {image.format} is not supported; supported are {_READABLE}")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise _RefusedError(f"{path}: holds {frames} frames or pages, expected a still image")
    # Loading first finds truncation, which OpenCV would pass over.
    image.load()
    exif = image.getexif()
    orientation = exif.pop(ExifTags.Base.Orientation, 1)
    # The bit depth of a PNG stands in the IHDR chunk, always the first; Pillow's mode hides it.
    deep = image.format == "PNG" and data[24] == 16
    planes = _deep_planes(data, path) if deep else _byte_planes(image, path)
    color, alpha = _split_alpha(planes)
    return Picture(
        pixels=_upright(color, orientation),
        alpha=None if alpha is None else _upright(alpha, orientation),
        icc_profile=image.info.get("icc_profile"),
        # The EXIF of a TIFF is its whole tag directory, which describes the old file.
        exif=exif.tobytes() if len(exif) and image.format != "TIFF" else None,
    )


def _byte_planes(image: Image.Image, path: Path) -> np.ndarray:
    mode = _BYTE_MODES.get(image.mode)
    if mode is None:
        remedy = "convert it to RGB with a colour-managed program first"
        raise _RefusedError(f"{path}: pixels of mode {image.mode!r} are not supported; {remedy}")
    if "transparency" in image.info:
        mode = "RGBA" if mode in ("RGB", "RGBA") else "LA"
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _deep_tiff(data: bytes) -> Picture | None:
    """Reads a TIFF of more than 8 bits; None if it has no more, which is Pillow's business."""
    from armoe_jax.images import deep_tiff  # takes a tenth of a second, and few images are TIFFs

    if deep_tiff.bits_per_sample(data) <= 8:
        return None
    tiff = deep_tiff.read_deep_tiff(data)
    return Picture(
        pixels=_upright(tiff.color, tiff.orientation),
        alpha=None if tiff.alpha is None else _upright(tiff.alpha, tiff.orientation),
        icc_profile=tiff.icc_profile,
    )


def _deep_planes(data: bytes, path: Path) -> np.ndarray:
    """Reads the samples of a 16-bit PNG."""
    import cv2  # takes a fifth of a second, and 16 bits are rare

    planes = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if planes is None or planes.dtype != np.uint16:
        raise _RefusedError(f"{path}: 16-bit PNG that cannot be read; it may be damaged")
    if planes.ndim == 2:
        return planes
    planes = planes[..., [2, 1, 0, 3][: planes.shape[2]]]
    gray_with_alpha = data[25] == 4
    return planes[..., [0, 3]] if gray_with_alpha else planes


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
    elif orientation in (5, 6, 7, 8):
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


def _encode_bytes(picture: Picture, image_format: str, quality: int | None) -> bytes:
    options: dict[str, Any] = {}
    if picture.icc_profile:
        options["icc_profile"] = picture.icc_profile
    if picture.exif and image_format != "TIFF":
        options["exif"] = picture.exif
    if image_format in DEFAULT_QUALITY:
        options |= {"quality": quality or DEFAULT_QUALITY[image_format], "subsampling": "4:4:4"}
    elif image_format == "WEBP":
        # `exact` keeps the colours below transparent pixels.
        lossless = {"lossless": True, "exact": True}
        options |= lossless if quality is None else {"quality": quality}
    elif image_format == "TIFF":
        options["compression"] = "tiff_deflate"
    buffer = io.BytesIO()
    Image.fromarray(_stacked(picture)).save(buffer, image_format, **options)
    return buffer.getvalue()


def _encode_deep(picture: Picture, image_format: str) -> bytes:
    if image_format == "PNG":
        return encode_png16(_stacked(picture), icc_profile=picture.icc_profile, exif=picture.exif)
    from armoe_jax.images.deep_tiff import encode_deep_tiff

    return encode_deep_tiff(picture.pixels, alpha=picture.alpha, icc_profile=picture.icc_profile)
