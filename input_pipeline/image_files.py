"""Image files of data sets: 8 bits, opaque, as arrays with a channel axis."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from armoe_jax.images import io
from armoe_jax.images.files import by_stem, images_in
from armoe_jax.images.libvips import encode_png as encode_png_samples
from input_pipeline.codecs.base import RGB


def list_images(folder: str | Path) -> list[Path]:
    """Returns the image files of a folder (not of its sub-folders), sorted by name.

    Raises:
        FileNotFoundError: If the folder is absent.
        ValueError: If it holds no image, or two files have the same stem.
    """
    return list(by_stem(images_in(folder)).values())


def check_unique_stems(files: Iterable[Path]) -> None:
    """Raises ValueError if two files have the same name but for folder and suffix."""
    by_stem(files)


def read_image(path: str | Path) -> UInt8[np.ndarray, "h w c"]:
    """Reads an 8-bit image: RGB (H, W, 3), or gray (H, W, 1) if it is stored so.

    Palettes are expanded, EXIF orientation is applied, an opaque alpha channel is dropped.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no image, damaged, has 16 bits a sample, is CMYK or transparent.
    """
    picture = io.read_image(path)
    pixels = picture.pixels
    if pixels.dtype != np.uint8:
        raise ValueError(f"{path}: {pixels.dtype}, 16 bits per sample; convert it to 8 bits")
    if picture.alpha is not None and picture.alpha.min() < 255:
        raise ValueError(f"{path}: has transparent pixels; blend it with a background")
    return pixels[..., None] if pixels.ndim == 2 else pixels


def read_rgb(path: str | Path) -> RGB:
    """Like `read_image`, with gray images repeated to three channels."""
    image = read_image(path)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


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


def encode_png(image: UInt8[np.ndarray, "h w c"]) -> bytes:
    """Returns the PNG file of a gray or RGB image."""
    return encode_png_samples(image)
