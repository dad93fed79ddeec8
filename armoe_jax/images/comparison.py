"""Pictures side by side, with the part that differs most enlarged below."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from armoe_jax.ops.resize import resize_levels

MAX_SIDE = 1024
"""Pixels that the longer side of a whole picture is reduced to, where it has more."""

ZOOM_WIDTH, ZOOM_HEIGHT = 128, 64
"""Pixels of the part that is shown enlarged."""

_LABEL_HEIGHT, _GAP = 16, 4
_BACKGROUND, _TEXT, _FRAME = (32, 32, 32), (240, 240, 240), (255, 64, 64)


def compare(pictures: Mapping[str, np.ndarray]) -> UInt8[np.ndarray, "h w 3"]:
    """Draws pictures of one scene side by side: whole, and below enlarged where they differ.

    The enlarged part is where the first two differ most in sum; a frame shows its place.

    Args:
        pictures: Label -> uint8 or uint16, (H, W) or (H, W, 3), two or more. Those that are smaller
            than the largest by a whole factor are enlarged by bicubic interpolation.
    """
    height, width = max(picture.shape[:2] for picture in pictures.values())
    shown = {label: _as_rgb(picture, height) for label, picture in pictures.items()}
    first, second = list(shown.values())[:2]
    top, left, rows, columns = part = _most_different(first, second)
    scale = min(1.0, MAX_SIDE / max(height, width))
    whole = (max(round(width * scale), 1), max(round(height * scale), 1))
    # Pixels are enlarged by a whole factor, so that each stays a square.
    factor = max(whole[0] // columns, 1)
    zoom = (columns * factor, rows * factor)
    cell = max(whole[0], zoom[0])
    sheet = Image.new(
        "RGB",
        ((cell + _GAP) * len(shown) - _GAP, _LABEL_HEIGHT + whole[1] + _GAP + zoom[1]),
        _BACKGROUND,
    )
    draw = ImageDraw.Draw(sheet)
    for number, (label, pixels) in enumerate(shown.items()):
        x = number * (cell + _GAP)
        draw.text((x + 2, 2), label, fill=_TEXT)
        picture = Image.fromarray(pixels)
        sheet.paste(picture.resize(whole, Image.Resampling.BOX), (x, _LABEL_HEIGHT))
        box = (left, top, left + columns, top + rows)
        crop = picture.crop(box).resize(zoom, Image.Resampling.NEAREST)
        sheet.paste(crop, (x, _LABEL_HEIGHT + whole[1] + _GAP))
        _draw_frame(draw, part, scale, x)
    return np.asarray(sheet)


def _as_rgb(picture: np.ndarray, height: int) -> UInt8[np.ndarray, "h w 3"]:
    if picture.dtype == np.uint16:
        picture = np.rint(picture / 257.0).astype(np.uint8)
    factor = height // picture.shape[0]
    picture = resize_levels(picture, factor) if factor > 1 else picture
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture


def _most_different(a: np.ndarray, b: np.ndarray) -> tuple[int, int, int, int]:
    """Returns top, left, rows and columns of the part where two pictures differ most."""
    difference = np.abs(a.astype(np.int32) - b).sum(axis=2, dtype=np.int64)
    rows, columns = min(ZOOM_HEIGHT, a.shape[0]), min(ZOOM_WIDTH, a.shape[1])
    # Sums over every such part, from a table of sums over all parts that begin at the corner.
    table = np.pad(difference, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    sums = table[rows:, columns:] - table[rows:, :-columns] - table[:-rows, columns:]
    sums += table[:-rows, :-columns]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top), int(left), rows, columns


def _draw_frame(
    draw: ImageDraw.ImageDraw, part: tuple[int, int, int, int], scale: float, x: int
) -> None:
    top, left, rows, columns = (round(scale * value) for value in part)
    corner = (x + left, _LABEL_HEIGHT + top)
    draw.rectangle((*corner, corner[0] + columns, corner[1] + rows), outline=_FRAME)
