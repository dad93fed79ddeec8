"""Finds the JPEG coding that an image went through, where its file does not tell of it.

Quantising leaves combs: on the grid of blocks that was coded, and on no other, the DCT coefficients
of a frequency lie near multiples of its step. The blocks and the table are those for which the
coefficients' phases, counted in steps, agree best. That finds the coding of JPEGs saved as PNG,
cropped or not, and the first coding of JPEGs that were saved again, cropped or not, more finely.

Source: the clusters are those of Neelamani et al., JPEG compression history estimation for color
images (2006), who search one grid by likelihood; the measure of phases is simpler.
"""

import functools

import numpy as np

from armoe_jax.images.jpeg import JpegCoding, libjpeg_tables
from armoe_jax.images.jpeg_coefficients import DCT, to_blocks

MIN_SIDE = 16
"""Pixels a side below which there is too little to see."""

SURE = 3.0
"""Agreement of phases, in standard deviations of that by chance, below which none is believed..."""

DISTINCT = 6.0
"""...nor one that exceeds that of every other grid by less than this.

Drawings repeat coefficients, whose phases agree by chance, but as much on other grids. Of
photographs and drawings that were not coded, or once, the best grid exceeded the next by 1.6 at
most; where there was a coding to be found, by 10 to 120.
"""

COARSER = 1.5
"""A first coding is looked for in steps larger by this factor than those of the file."""

_MOST_BLOCKS = 2048
_BIN = 0.25  # of coefficients, in gray levels
_BINS = 1024
_STEPS = np.arange(1, 256)
_LAST_NEAR = (_STEPS / 4 / _BIN).astype(int)  # last bin within a quarter of each step
_FREQUENCIES = np.array(sorted(range(64), key=lambda f: (f // 8 + f % 8, f))[:24])
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def find_first_coding(image: np.ndarray, coding: JpegCoding | None = None) -> JpegCoding | None:
    """Finds how an image was coded before it was cropped, saved as PNG, or coded again.

    Looks for the tables of libjpeg, upright and turned, on all 64 grids of blocks.

    Args:
        image: uint8, (H, W), (H, W, 1) or (H, W, 3), as decoded.
        coding: How its file codes it, if that is a JPEG; earlier codings that were as fine or finer
            are not looked for.

    Returns:
        The coding, of unknown subsampling unless `coding` tells it; None if none is seen. No block
        of it is certain: rounding and a second coding make integers wrong where steps are small.
    """
    if image.dtype != np.uint8:
        return None
    if coding is not None:
        plane, subsampling = coding.decoded_luma(), coding.subsampling
    else:
        gray = image.reshape(*image.shape[:2], -1)
        plane = (gray @ _LUMA if gray.shape[2] == 3 else gray[..., 0].astype(np.float32)) - 128
        subsampling = "unknown" if gray.shape[2] == 3 else "gray"
    if min(plane.shape) < MIN_SIDE:
        return None
    found = _search(plane, None if coding is None else coding.luma_table)
    if found is None:
        return None
    grid, tables = found
    return _quantised(plane, grid, tables, subsampling)


def _search(
    plane: np.ndarray, known: np.ndarray | None
) -> tuple[tuple[int, int], np.ndarray] | None:
    """Returns the place of the first whole block, and the tables (2, 8, 8)."""
    grids = [(top, left) for top in range(8) for left in range(8)]
    counts = np.stack([_count(plane[top:, left:]) for top, left in grids])
    seen = 1 + int(np.flatnonzero(counts.sum(axis=(0, 1))).max(initial=0))  # the rest is empty
    # Sums for each grid, frequency and step; then for each table.
    agreement = counts[..., :seen] @ _combs()[:, :seen].T
    number = counts.sum(axis=2, keepdims=True) - counts.cumsum(axis=2)[..., _LAST_NEAR]
    tables = _candidates()
    steps = tables[:, 0].reshape(-1, 64)[:, _FREQUENCIES]
    usable = np.ones(steps.shape, bool)
    if known is not None:
        usable = steps >= COARSER * known.reshape(64)[_FREQUENCIES]
    index = np.arange(len(_FREQUENCIES))
    agreement, number = (
        np.where(usable, sums[:, index, steps - 1], 0.0).sum(axis=2) for sums in (agreement, number)
    )
    deviations = agreement / np.sqrt(np.maximum(number, 1.0) / 2)
    deviations[:, usable.mean(axis=1) < 0.5] = -np.inf
    by_grid = deviations.max(axis=1)
    best = int(by_grid.argmax())
    others = np.delete(by_grid, best).max()
    if not by_grid[best] > max(SURE, others + DISTINCT):
        return None
    return grids[best], tables[deviations[best].argmax()]


def _count(plane: np.ndarray) -> np.ndarray:
    """Counts magnitudes of coefficients, float32 (frequencies, bins), but for clipped blocks."""
    rows, columns = (length // 8 for length in plane.shape)
    every = -(-rows * columns // _MOST_BLOCKS)  # of the rows of blocks
    rows_of_blocks = plane[: 8 * rows, : 8 * columns].reshape(rows, -1)[::every]
    blocks = to_blocks(rows_of_blocks.reshape(-1, 8 * columns))
    blocks = blocks[(blocks.min(axis=1) > -127) & (blocks.max(axis=1) < 126)]
    bins = np.rint(np.abs(blocks @ DCT[_FREQUENCIES].T) / _BIN).astype(int)
    bins += _BINS * np.arange(len(_FREQUENCIES))
    counts = np.bincount(
        bins[bins < _BINS * np.arange(1, len(_FREQUENCIES) + 1)],
        minlength=_BINS * len(_FREQUENCIES),
    )
    return counts.reshape(-1, _BINS).astype(np.float32)


@functools.cache
def _combs() -> np.ndarray:
    """Cosine of a magnitude's phase, float32 (steps, bins); 0 up to a quarter of the step.

    Of what decreases with the magnitude, as coefficients do that no comb formed, the rest has a
    mean below 0 then.
    """
    bins = np.arange(_BINS)
    cosines = np.cos(2 * np.pi * _BIN * bins / _STEPS.reshape(-1, 1))
    return np.where(bins > _LAST_NEAR.reshape(-1, 1), cosines, 0.0).astype(np.float32)


@functools.cache
def _candidates() -> np.ndarray:
    """Luma and chroma tables of all qualities, upright and turned, (200, 2, 8, 8)."""
    return np.concatenate([libjpeg_tables(), libjpeg_tables().swapaxes(2, 3)])


def _quantised(
    plane: np.ndarray, grid: tuple[int, int], tables: np.ndarray, subsampling: str
) -> JpegCoding:
    """Quantises the blocks of a grid; those that reach beyond the image are mirrored there."""
    offset = (-grid[0] % 8, -grid[1] % 8)
    margins = [
        (start, -(start + length) % 8) for start, length in zip(offset, plane.shape, strict=True)
    ]
    padded = np.pad(plane, margins, mode="symmetric")
    rows, columns = (length // 8 for length in padded.shape)
    steps = tables[0].reshape(64).astype(np.float32)
    integers = np.rint(to_blocks(padded) @ (DCT.T / steps)).astype(np.int16)
    return JpegCoding(
        size=(plane.shape[0], plane.shape[1]),
        offset=offset,
        luma_table=tables[0].astype(np.uint16),
        chroma_table=None if subsampling == "gray" else tables[1].astype(np.uint16),
        subsampling=subsampling,
        luma=integers.reshape(rows, columns, 8, 8),
        certain=np.zeros((rows, columns), bool),
    )
