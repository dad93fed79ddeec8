"""Image files: finding, reading and writing them, with errors that name the file."""

import io
import os
import socket
import struct
from pathlib import Path

import cv2
import numpy as np
import psutil
from jaxtyping import UInt8
from PIL import Image, ImageOps

from input_pipeline.codecs.base import RGB

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")

_ORIENTATION = 0x0112

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


class ImageFileError(ValueError):
    """A file that holds no image of the kind asked for."""


def list_images(folder: str | Path) -> list[Path]:
    """Returns the image files of a folder (not of its sub-folders), sorted by name.

    Raises:
        FileNotFoundError: If the folder is absent or holds no image.
        ValueError: If two files have the same stem.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give an existing folder of images")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"{folder} holds no image ({', '.join(SUFFIXES)})")
    check_unique_stems(files)
    return files


def check_unique_stems(files: list[Path]) -> None:
    """Raises ValueError if two files have the same name but for folder and suffix."""
    seen: dict[str, Path] = {}
    for path in files:
        if path.stem in seen:
            raise ValueError(
                f"{seen[path.stem]} and {path} have the same stem {path.stem!r}; rename one of them"
            )
        seen[path.stem] = path


def read_image(path: str | Path) -> UInt8[np.ndarray, "h w c"]:
    """Reads an 8-bit image: RGB (H, W, 3), or gray (H, W, 1) if it is stored so.

    Palettes are expanded, EXIF orientation is applied, an opaque alpha channel is dropped.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageFileError: If it is no image, damaged, has 16 bits a sample, is CMYK or transparent.
    """
    path = Path(path)
    data = path.read_bytes()
    if data[:8] == _PNG_MAGIC and data[24:25] == b"\x10":
        raise ImageFileError(f"{path} has 16 bits per sample; convert it to 8 bits")
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            picture = ImageOps.exif_transpose(opened)
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        reason = str(error).split(" <_io")[0]  # Pillow names the buffer's address
        raise ImageFileError(f"{path} is not a readable image: {reason}") from error
    return _to_8_bit(picture, path)


def _to_8_bit(picture: Image.Image, path: Path) -> UInt8[np.ndarray, "h w c"]:
    if picture.has_transparency_data:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
        if alpha.min() < 255:
            raise ImageFileError(f"{path} has transparent pixels; blend it with a background")
    if picture.mode in ("L", "LA", "1"):
        return np.asarray(picture.convert("L"))[..., None]
    if picture.mode in ("RGB", "RGBA", "RGBX", "P", "PA"):
        return np.asarray(picture.convert("RGB"))
    raise ImageFileError(f"{path} has colour mode {picture.mode}; convert it to 8-bit RGB")


def read_rgb(path: str | Path) -> RGB:
    """Like `read_image`, with gray images repeated to three channels."""
    image = read_image(path)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def image_size(path: str | Path) -> tuple[int, int]:
    """Returns height and width, read from the file's head and turned by its EXIF orientation.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageFileError: If it is no image.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            # Without an early EXIF chunk, Pillow would decode a whole PNG to look for a late one.
            has_exif = picture.format != "PNG" or "exif" in picture.info
            turned = has_exif and picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise ImageFileError(f"{path} is not a readable image: {error}") from error
    return (width, height) if turned else (height, width)


def halve(image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h2 w2 c"]:
    """Reduces both sides by two with Lanczos, which removes most of a JPEG's own artifacts."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    if height == 0 or width == 0:
        raise ValueError(f"image of {image.shape[1]}x{image.shape[0]} is too small to be halved")
    even = image[: 2 * height, : 2 * width]
    gray = even.shape[2] == 1
    picture = Image.fromarray(even[..., 0] if gray else even)
    reduced = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))
    return reduced[..., None] if gray else reduced


def is_jpeg(path: str | Path) -> bool:
    """Returns whether a file begins as a JPEG does."""
    with open(path, "rb") as file:
        return file.read(3) == b"\xff\xd8\xff"


def encode_png(image: UInt8[np.ndarray, "h w c"]) -> bytes:
    """Returns the PNG file of a gray or RGB image.

    OpenCV's defaults (run lengths, one fixed row filter) give files that are read 40% faster than
    those of Pillow, and are at most 20% larger; training reads them many times.
    """
    encoded, buffer = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not encoded:
        raise ValueError(f"image of shape {image.shape} could not be encoded as PNG")
    return buffer.tobytes()


def temporary_name(path: Path) -> Path:
    """Returns a hidden name beside a file, of this process alone."""
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.tmp")


def write_atomically(path: str | Path, data: bytes) -> None:
    """Writes beside the file and renames, so that a file under this name is always whole."""
    path = Path(path)
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Deletes temporary files of processes of this machine that no longer run."""
    for path in folder.glob(".*.tmp"):
        host, _, process = path.name.removesuffix(".tmp").rpartition("-")
        dead = process.isdigit() and not psutil.pid_exists(int(process))
        if host.endswith(f".{socket.gethostname()}") and dead:
            path.unlink(missing_ok=True)
