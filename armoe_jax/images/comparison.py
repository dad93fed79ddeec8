"""Pictures side by side, with the part that differs most enlarged below."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from PIL.Image import Resampling

from armoe_jax.ops.resize import resize_levels

MAX_SIDE = 1024
"""Pixels that the longer side of a whole picture is reduced to, where it has more."""

ZOOM_WIDTH = 128
"""Pixels, at most, that the enlarged part is wide where the picture is that wide; half as high."""

MIN_CELL = 256
"""Pixels that each picture has room in, at least: less does not hold a label."""

GAP = 8
_PAPER, _TEXT, _FRAME = (255, 255, 255), (31, 35, 40), (255, 211, 61)


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
    scale = min(1.0, MAX_SIDE / max(height, width))
    whole = (max(round(width * scale), 1), max(round(height * scale), 1))
    cell = max(whole[0], MIN_CELL)
    # Pixels are enlarged by a whole factor, so that each stays a square; what is left of the cell
    # is filled by further columns.
    factor = max(cell // min(ZOOM_WIDTH, width), 1)
    columns = min(-(-cell // factor), width)
    rows = min((columns + 1) // 2, height)
    top, left = _most_different(first, second, rows, columns)
    box = (left, top, left + columns, top + rows)
    letters = max(16, cell // 32)
    font, label_height = ImageFont.load_default(size=letters), 2 * letters
    below = label_height + whole[1] + GAP
    size = ((cell + GAP) * len(shown) - GAP, below + rows * factor)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (label, pixels) in enumerate(shown.items()):
        x = number * (cell + GAP)
        draw.text((x, label_height // 2), label, fill=_TEXT, font=font, anchor="lm")
        picture = Image.fromarray(pixels)
        crop = picture.crop(box).resize((columns * factor, rows * factor), Resampling.NEAREST)
        sheet.paste(crop.crop((0, 0, min(cell, crop.width), crop.height)), (x, below))
        framed = picture.resize(whole, Resampling.BOX)
        _draw_frame(framed, [round(scale * edge) for edge in box])
        sheet.paste(framed, (x, label_height))
    return np.asarray(sheet)


def _as_rgb(picture: np.ndarray, height: int) -> UInt8[np.ndarray, "h w 3"]:
    if picture.dtype == np.uint16:
        picture = np.rint(picture / 257.0).astype(np.uint8)
    factor = height // picture.shape[0]
    picture = resize_levels(picture, factor) if factor > 1 else picture
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture


def _most_different(a: np.ndarray, b: np.ndarray, rows: int, columns: int) -> tuple[int, int]:
    """Returns top and left of the part of that size in which two pictures differ most."""
    difference = np.abs(a.astype(np.int32) - b).sum(axis=2, dtype=np.int64)
    # Sums over every such part, from a table of sums over all parts that begin at the corner.
    table = np.pad(difference, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    sums = table[rows:, columns:] - table[rows:, :-columns] - table[:-rows, columns:]
    sums += table[:-rows, :-columns]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top), int(left)


def _draw_frame(picture: Image.Image, box: list[int]) -> None:
    """Draws a frame inside the edges left, top, right, bottom."""
    left, top, right, bottom = box
    corners = (left, top, max(right - 1, left), max(bottom - 1, top))
    ImageDraw.Draw(picture).rectangle(corners, outline=_FRAME, width=2)
