"""Finds the JPEG coding that an image went through, where its file does not tell of it.

Quantising leaves combs: on the grid of blocks that was coded, and on no other, the DCT coefficients
of a frequency lie near multiples of its step. The blocks and the table are those for which the
coefficients' phases, counted in steps, agree best. That finds the coding of JPEGs saved as PNG,
cropped or not, and the first coding of JPEGs that were saved again, cropped or not, more finely.
Where the second coding has other blocks and steps about as large, it blurs the first comb, which
then is no longer clear by itself, but may still stand out among the grids.

Source: the clusters are those of Neelamani et al., JPEG compression history estimation for color
images (2006), who search one grid by likelihood; the measure of phases is simpler.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from armoe_jax.images.jpeg import JpegCoding, JpegNote, libjpeg_tables, read_jpeg_coding
from armoe_jax.images.jpeg_coefficients import DCT, to_blocks
from armoe_jax.metrics.image import LUMA_WEIGHTS

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
"""A comb that is clear by itself is looked for in steps larger by this factor than the file's."""

FINER = 0.75
"""On other blocks, a first coding is believed if its mean step is as large as the file's, and
recognised, so that it is not taken for a coarser one, down to this factor."""

STANDS_OUT = 5.0
"""Agreement beyond that of grids alike, in standard deviations, below which no faint comb is
believed..."""

STANDS_APART = 2.5
"""...nor one that exceeds that of every other grid by less than this."""

FREQUENCIES_SEEN = 8
"""A faint comb has to show at so many frequencies, each in ENOUGH coefficients."""

ENOUGH = 16

_MOST_BLOCKS = 2048
_BIN = 0.25  # of coefficients, in gray levels
_BINS = 1024
_STEPS = np.arange(1, 256)
_LAST_NEAR = (_STEPS / 4 / _BIN).astype(int)  # last bin within a quarter of each step
_FREQUENCIES = np.array(sorted(range(64), key=lambda f: (f // 8 + f % 8, f))[:24])
_LUMA = (np.array(LUMA_WEIGHTS) / sum(LUMA_WEIGHTS)).astype(np.float32)  # of full range


class FoundCodings(NamedTuple):
    """How an image was coded as JPEG, by all there is to know.

    Attributes:
        file: What its file tells, or why it tells nothing.
        first: What its pixels tell of a coding before that, or None.
    """

    file: JpegCoding | JpegNote
    first: JpegCoding | None

    @property
    def believed(self) -> JpegCoding | None:
        """The first, coarser coding if pixels show one, else the file's, else None."""
        return self.first or (self.file if isinstance(self.file, JpegCoding) else None)


def find_codings(source: str | Path | bytes, image: np.ndarray) -> FoundCodings:
    """Finds how an image was coded, by its file and by its pixels.

    Args:
        source: Its file, or the content; of any format.
        image: Its pixels as `read_image` returns them; see `find_first_coding`.

    Raises:
        OSError: If the file cannot be opened.
    """
    file = read_jpeg_coding(source)
    return FoundCodings(
        file, find_first_coding(image, file if isinstance(file, JpegCoding) else None)
    )


def find_first_coding(image: np.ndarray, coding: JpegCoding | None = None) -> JpegCoding | None:
    """Finds how an image was coded before it was cropped, saved as PNG, or coded again.

    Looks for the tables of libjpeg, upright and turned, on all 64 grids of blocks.

    Args:
        image: uint8, (H, W), (H, W, 1) or (H, W, 3), as decoded.
        coding: How its file codes it, if that is a JPEG; earlier codings that were finer are
            not looked for.

    Returns:
        The coding, of unknown subsampling unless `coding` tells it; None if none is seen. No block
        of it is certain: its `luma` is what to expect after the errors of rounding and of a second
        coding, whole numbers where steps are large beside these.
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
    sums = _sums(plane)
    known = None if coding is None else coding.luma_table
    found = _clearest(sums, known)
    if found is None and coding is not None:
        own = (-coding.offset[0] % 8, -coding.offset[1] % 8)
        found = _outstanding(sums, own, coding.luma_table)
    if found is None:
        return None
    grid, tables = found
    return _expected(plane, grid, tables, subsampling, known)


def _sums(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the phases' cosines, and their number, for each grid, frequency and step.

    Grid 8 * top + left has its first whole block there.
    """
    counts = np.stack([_count(plane[grid // 8 :, grid % 8 :]) for grid in range(64)])
    seen = 1 + int(np.flatnonzero(counts.sum(axis=(0, 1))).max(initial=0))  # the rest is empty
    agreement = counts[..., :seen] @ _combs()[:, :seen].T
    number = counts.sum(axis=2, keepdims=True) - counts.cumsum(axis=2)[..., _LAST_NEAR]
    return agreement, number


def _deviations(
    sums: tuple[np.ndarray, np.ndarray], steps: np.ndarray, usable: np.ndarray
) -> np.ndarray:
    """Agreement of each grid with each table, in standard deviations of that by chance.

    Args:
        sums: Of `_sums`.
        steps: Steps of tables at the frequencies looked at, (tables, frequencies).
        usable: Which of them count, in the same shape.
    """
    index = np.arange(len(_FREQUENCIES))
    agreement, number = (
        np.where(usable, values[..., index, steps - 1], 0.0).sum(axis=-1) for values in sums
    )
    return agreement / np.sqrt(np.maximum(number, 1.0) / 2)


def _clearest(
    sums: tuple[np.ndarray, np.ndarray], known: np.ndarray | None
) -> tuple[int, np.ndarray] | None:
    """Returns the grid and the tables (2, 8, 8) of a comb that is clear by itself."""
    steps = _looked_at(_candidates()[:, 0])
    usable = np.ones(steps.shape, bool)
    if known is not None:
        usable = steps >= COARSER * _looked_at(known)
    deviations = _deviations(sums, steps, usable)
    deviations[:, usable.mean(axis=1) < 0.5] = -np.inf
    return _best(deviations, SURE, DISTINCT)


def _outstanding(
    sums: tuple[np.ndarray, np.ndarray], own: tuple[int, int], known: np.ndarray
) -> tuple[int, np.ndarray] | None:
    """Returns the grid, not the file's own, and the tables of a comb that is clear by contrast.

    The file's own comb shows on other grids too, so these are compared with their like: those that
    share the rows, or the columns, of the file's blocks among themselves (without the frequencies
    of what does not vary along the other axis, which share the comb as well), and each with the one
    on the opposite side of the file's.
    """
    agreement, number = (
        np.roll(values.reshape(8, 8, *values.shape[1:]), (-own[0], -own[1]), axis=(0, 1))
        for values in sums
    )
    number[:1, :, _FREQUENCIES % 8 == 0] = 0.0
    number[:, :1, _FREQUENCIES // 8 == 0] = 0.0
    means = agreement / np.maximum(number, 1.0)
    for alike in (np.s_[:1, 1:], np.s_[1:, :1], np.s_[1:, 1:]):
        means[alike] -= np.median(means[alike], axis=(0, 1))
    tables = _candidates()[:, 0]
    steps = _looked_at(tables)
    deviations = _deviations((number * means, number), steps, np.ones(steps.shape, bool))
    opposite = np.roll(np.flip(deviations, (0, 1)), (1, 1), axis=(0, 1))
    opposite[::4, ::4] = 0.0  # these are their own opposites
    deviations -= np.maximum(opposite, 0.0)
    seen = (number[..., np.arange(len(_FREQUENCIES)), steps - 1] >= ENOUGH).sum(axis=-1)
    deviations[seen < FREQUENCIES_SEEN] = -np.inf
    deviations[..., tables.mean(axis=(1, 2)) < FINER * known.mean()] = -np.inf
    deviations[0, 0] = -np.inf
    deviations = np.roll(deviations, own, axis=(0, 1)).reshape(64, -1)
    found = _best(deviations, STANDS_OUT, STANDS_APART)
    if found is None or found[1][0].mean() < known.mean():
        return None
    return found


def _best(deviations: np.ndarray, least: float, ahead: float) -> tuple[int, np.ndarray] | None:
    """Returns the grid and the tables that agree best, if by enough and by more than others."""
    *_, others, best = np.sort(deviations.max(axis=1))
    if not best > max(least, others + ahead):
        return None
    grid, table = divmod(int(deviations.argmax()), deviations.shape[1])
    return grid, _candidates()[table]


def _looked_at(tables: np.ndarray) -> np.ndarray:
    """The steps of tables (..., 8, 8) at the frequencies looked at, (..., frequencies)."""
    return tables.reshape(*tables.shape[:-2], 64)[..., _FREQUENCIES]


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


def _expected(
    plane: np.ndarray,
    grid: int,
    tables: np.ndarray,
    subsampling: str,
    known: np.ndarray | None,
) -> JpegCoding:
    """Expects the blocks of a grid; those that reach beyond the image are mirrored there."""
    offset = (-(grid // 8) % 8, -grid % 8)
    margins = [
        (start, -(start + length) % 8) for start, length in zip(offset, plane.shape, strict=True)
    ]
    padded = np.pad(plane, margins, mode="symmetric")
    rows, columns = (length // 8 for length in padded.shape)
    steps = tables[0].reshape(64).astype(np.float32)
    later = 0.0 if known is None else known.reshape(64).astype(np.float32)
    # Of the coding after it, and of rounding to 8 bits, in steps: variances of uniform errors.
    noise = (later**2 + 1.0) / 12 / steps**2
    return JpegCoding(
        size=(plane.shape[0], plane.shape[1]),
        offset=offset,
        luma_table=tables[0].astype(np.uint16),
        chroma_table=None if subsampling == "gray" else tables[1].astype(np.uint16),
        subsampling=subsampling,
        luma=_expected_integers(to_blocks(padded) @ (DCT.T / steps), noise).reshape(
            rows, columns, 8, 8
        ),
        certain=np.zeros((rows, columns), bool),
    )


def _expected_integers(values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Expects integers behind values (n, 64) with normal noise of variances (64,), float32.

    All integers count as equally likely before; those beyond the next ones do not matter.
    """
    nearest = np.rint(values)
    beyond = values - nearest
    above, below = (np.exp((side * beyond - 0.5) / noise) for side in (1.0, -1.0))
    return (nearest + (above - below) / (1.0 + above + below)).astype(np.float32)
