"""Figures of the ARMoE paper, to print beside our own.

PSNR and SSIM on limited-range BT.601 luma. The codec is VTM-20.0, all-intra; its colour conversion
left a nearly constant darkening, part of which a network removes for free (0.93 dB at QP 22, 0.09
at QP 37), so gains on cleanly converted images are smaller.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class PublishedRow:
    """One row of a published table.

    Attributes:
        input_psnr_y: PSNR of the coded images in dB; None where the paper gives none.
        input_ssim_y: Their SSIM.
        psnr_y: PSNR of ARMoE's output in dB.
        ssim_y: Its SSIM.
    """

    input_psnr_y: float | None
    input_ssim_y: float | None
    psnr_y: float
    ssim_y: float

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields by name."""
        return dataclasses.asdict(self)


CAR_ROWS: Mapping[tuple[str, int], PublishedRow] = {
    ("kodak24", 22): PublishedRow(41.51, 0.9778, 43.06, 0.9789),
    ("kodak24", 27): PublishedRow(38.61, 0.9581, 39.56, 0.9603),
    ("kodak24", 32): PublishedRow(35.49, 0.9208, 36.11, 0.9246),
    ("kodak24", 37): PublishedRow(32.45, 0.8589, 32.87, 0.8644),
    ("mcmaster", 22): PublishedRow(41.82, 0.9811, 43.54, 0.9825),
    ("mcmaster", 27): PublishedRow(39.07, 0.9653, 40.23, 0.9680),
    ("mcmaster", 32): PublishedRow(36.17, 0.9378, 36.99, 0.9423),
    ("mcmaster", 37): PublishedRow(33.24, 0.8927, 33.81, 0.8995),
    ("cbsd68", 22): PublishedRow(41.73, 0.9851, 43.20, 0.9859),
    ("cbsd68", 27): PublishedRow(38.20, 0.9641, 38.97, 0.9657),
    ("cbsd68", 32): PublishedRow(34.67, 0.9245, 35.16, 0.9276),
    ("cbsd68", 37): PublishedRow(31.36, 0.8547, 31.69, 0.8597),
}
"""VVC artifact removal: (set, QP) -> row."""

SR_ROWS: Mapping[tuple[str, int], PublishedRow] = {
    ("set5", 2): PublishedRow(None, None, 38.19, 0.9612),
    ("bsd100", 2): PublishedRow(None, None, 32.33, 0.9016),
}
"""Light super-resolution: (set, scale) -> row."""

SETS = tuple(sorted({name for name, _ in (*CAR_ROWS, *SR_ROWS)}))


def published_row(image_set: str, *, qp: int | None, scale: int) -> PublishedRow | None:
    """Returns the paper's row for a set at a QP (or, above scale 1, at that scale); None if none.

    Args:
        image_set: Name of the set, in any case.
        qp: Quantisation parameter of the VVC images.
        scale: Output size over input size.
    """
    name = image_set.lower()
    if scale > 1:
        return SR_ROWS.get((name, scale))
    return None if qp is None else CAR_ROWS.get((name, qp))
