"""Parts of JPEGs: what is known of how an image was coded that was cut out of another."""

import dataclasses

from armoe_jax.images.jpeg import JpegCoding


def cut_out(coding: JpegCoding, top: int, left: int, height: int, width: int) -> JpegCoding:
    """Returns the coding of the part of an image that begins at (top, left)."""
    rows, columns = coding.offset[0] + top, coding.offset[1] + left
    blocks = (
        slice(rows // 8, -(-(rows + height) // 8)),
        slice(columns // 8, -(-(columns + width) // 8)),
    )
    return dataclasses.replace(
        coding,
        size=(height, width),
        offset=(rows % 8, columns % 8),
        luma=coding.luma[blocks],
        certain=coding.certain[blocks],
    )
