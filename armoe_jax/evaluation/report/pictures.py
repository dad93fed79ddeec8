"""Pictures of a report, as data URIs of lossless WebP."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from armoe_jax.evaluation.report.charts import image_uri
from armoe_jax.evaluation.report.runs import Run
from armoe_jax.images.io import read_image
from armoe_jax.ops.resize import resize_levels

KINDS = ("lq", "restored", "gt")
THUMBNAIL_SIDE = 132
Picture = UInt8[np.ndarray, "h w 3"]


def load_pictures(run: Run, name: str) -> dict[str, Picture]:
    """Reads the pictures of an image that there are: "lq", "restored", "gt".

    An input smaller than the restored picture is enlarged by bicubic interpolation; the others are
    cropped to the common size.

    Raises:
        ValueError: If a file is no image, or sizes do not belong together.
    """
    files = {kind: run.picture(kind, name) for kind in KINDS}
    pictures = {kind: _read(path) for kind, path in files.items() if path}
    if not {"lq", "restored"} <= set(pictures):
        return pictures
    height, width = pictures["restored"].shape[:2]
    scale = height / pictures["lq"].shape[0]
    if scale > 1:
        pictures["lq"] = resize_levels(pictures["lq"], round(scale))
    for kind, picture in pictures.items():
        if picture.shape[0] < height or picture.shape[1] < width:
            raise ValueError(
                f"{files[kind]}: {picture.shape[1]}x{picture.shape[0]} pixels, the restored "
                f"picture has {width}x{height}"
            )
    return {kind: picture[:height, :width] for kind, picture in pictures.items()}


def read_for_network(
    path: Path, channels: int
) -> UInt8[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w"]:
    """Reads a picture as RGB, or as gray for a network of one channel (its green channel)."""
    picture = _read(path)
    return picture if channels == 3 else picture[..., 1]


def to_uri(picture: Picture) -> str:
    """Returns a picture, unchanged in every pixel, as lossless WebP."""
    return image_uri(picture, "WEBP", lossless=True, quality=60, method=3)


def thumbnail_uri(picture: Picture) -> str:
    """Returns a small copy, as JPEG."""
    scale = THUMBNAIL_SIDE / max(picture.shape[:2])
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    small = Image.fromarray(picture).resize(size, Image.Resampling.BOX)
    return image_uri(np.asarray(small), "JPEG", quality=80)


def _read(path: Path) -> Picture:
    pixels = read_image(path).pixels
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / 257.0).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
