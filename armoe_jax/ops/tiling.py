"""Cutting images into tiles: where they lie, what surrounds them, how they blend. NumPy only.

Each axis is planned by itself; a tile is a span of rows and a span of columns. Neighbouring spans
hand over in a fade: weights fall from 1 to 0 in one and rise in the other, and sum to 1 everywhere.

How far a tiled output is from that of the whole image, as PSNR between the two, not rounded (mean
of three Kodak images cut to 512x512, JPEG quality 10, a network of one block and 64 channels that
gains 0.42 dB; its output is 42.6 dB from its input):

| tile | overlap | PSNR | largest difference, levels of 255 | change of the gain |
|---|---|---|---|---|
| 64 | 16 | 59.7 dB | 8.3 | -0.005 dB |
| 128 | 16 | 78.3 dB | 1.2 | below 0.001 dB |
| 128 | 32 | 77.8 dB | 1.2 | below 0.001 dB |
| 128 | 64 | 78.6 dB | 1.3 | below 0.001 dB |

Experts chosen once for the whole image instead of by each tile change this by at most 0.1 dB.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

MIN_TILE = 16
"""Shortest side of a tile, in pixels."""

RELEASED_TILE = 200
RELEASED_SHAVE = 16


@dataclasses.dataclass(frozen=True)
class Span:
    """One tile's stretch of one axis, in input pixels.

    Attributes:
        start: First pixel.
        stop: One past the last pixel whose output is used; what lies beyond the image is mirrored.
        size: Pixels given to the network, at least `stop - start`; the rest is mirrored.
        fade_in: Where the weight leaves 0 and where it reaches 1; equal for a hard cut.
        fade_out: Where the weight leaves 1 and where it reaches 0.
    """

    start: int
    stop: int
    size: int
    fade_in: tuple[int, int]
    fade_out: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class AxisPlan:
    """The spans of one axis.

    Attributes:
        length: Pixels of the image along this axis.
        spans: In rising order.
        repeat_edge: Whether mirroring repeats the edge pixel (... 1 0 | 0 1 ...).
    """

    length: int
    spans: tuple[Span, ...]
    repeat_edge: bool = False

    def source_indices(self, span: Span) -> Int[np.ndarray, " size"]:
        """Returns the image rows (or columns) that make up a span, mirrored beyond the image."""
        return mirror_indices(
            np.arange(span.start, span.start + span.size), self.length, self.repeat_edge
        )

    def valid_stop(self, span: Span) -> int:
        """Returns one past the last pixel of a span that lies in the image."""
        return min(span.stop, self.length)

    def weights(self, span: Span, scale: int) -> Float[np.ndarray, " n"]:
        """Returns the blending weights of a span's output pixels inside the image, in [0, 1]."""
        centres = np.arange(span.start * scale, self.valid_stop(span) * scale) + 0.5
        rising = _ramp(centres, span.fade_in, scale)
        falling = 1.0 - _ramp(centres, span.fade_out, scale)
        return (rising * falling).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class TilePlan:
    """The tiles of one image: every span of rows with every span of columns, row by row."""

    rows: AxisPlan
    columns: AxisPlan

    @property
    def num_tiles(self) -> int:
        """Number of tiles."""
        return len(self.rows.spans) * len(self.columns.spans)

    def tiles(self) -> Iterator[tuple[int, int]]:
        """Yields indices into `rows.spans` and `columns.spans`, row by row."""
        return itertools.product(range(len(self.rows.spans)), range(len(self.columns.spans)))

    def shape(self, row: int, column: int) -> tuple[int, int]:
        """Returns the height and width of a tile as the network sees it."""
        return self.rows.spans[row].size, self.columns.spans[column].size


def plan_whole(height: int, width: int) -> TilePlan:
    """Plans one tile that is the image; an odd width gets one mirrored column."""
    return TilePlan(_single(height, height), _single(width, _even(width)))


def plan_tiles(height: int, width: int, tile: int, overlap: int, *, alignment: int = 1) -> TilePlan:
    """Plans tiles of sides `tile` or, where the image is no longer than that, half of it.

    So there are at most four shapes, whatever the images. Tiles lie evenly, `overlap` pixels or
    more over their neighbours (up to two alignments less where tiles must lie on a grid); fades are
    `overlap` pixels long at most, in the middle of that.

    Args:
        height: Rows of the image.
        width: Its columns.
        tile: Side of a tile.
        overlap: Pixels that neighbours share.
        alignment: Corners of tiles are multiples of it; the last ones may reach beyond the image.

    Raises:
        ValueError: If the tile is under 16 pixels or odd, or the overlap is negative or more than
            half the tile.
    """
    check_tile(tile, overlap)
    return TilePlan(
        _tiled(height, tile, overlap, alignment), _tiled(width, tile, overlap, alignment)
    )


def plan_released(height: int, width: int) -> TilePlan:
    """Plans the released tiled test: tiles of 100 to 200 pixels and 16 around, cut without fades.

    Differs: a tile of odd width gets one mirrored column, where the released network fails.

    Source: architecture.md section 9.
    """
    return TilePlan(_released(height, even=False), _released(width, even=True))


def check_tile(tile: int, overlap: int) -> None:
    """Raises ValueError unless tiles of this size and overlap can be laid."""
    if tile < MIN_TILE or tile % 2:
        raise ValueError(f"tile is {tile}, expected an even number of {MIN_TILE} pixels or more")
    if not 0 <= overlap <= tile // 2:
        raise ValueError(f"overlap is {overlap}, expected 0 to {tile // 2} (half the tile, {tile})")


def mirror_indices(
    indices: Int[np.ndarray, " n"], length: int, repeat_edge: bool
) -> Int[np.ndarray, " n"]:
    """Folds indices of any size into [0, length) by mirroring at both ends.

    Args:
        indices: Positions, also negative ones and ones beyond the end.
        length: Pixels of the axis, 1 or more.
        repeat_edge: Mirror between pixels (the edge appears twice) instead of on the edge pixel.
    """
    if length == 1:
        return np.zeros_like(indices)
    last = 2 * length - 1 if repeat_edge else 2 * length - 2
    period = last + 1 if repeat_edge else last
    folded = indices % period
    return np.where(folded < length, folded, last - folded)


def _single(length: int, size: int) -> AxisPlan:
    return AxisPlan(length, (Span(0, length, size, (0, 0), (length, length)),))


def _tiled(length: int, tile: int, overlap: int, alignment: int) -> AxisPlan:
    if length <= tile:
        half = _even(tile // 2)
        return _single(length, half if length <= half else tile)
    last = -(-(length - tile) // alignment)  # of the starts, in alignments
    count = -(-(last * alignment + tile - overlap) // (tile - overlap))
    starts = [round(i * last / (count - 1)) * alignment for i in range(count)]
    strides = [b - a for a, b in itertools.pairwise(starts)]
    # Fades must not meet: only short strides, of axes little longer than a tile, limit them. And
    # they must lie where tiles overlap, which long strides, rounded to the alignment, limit.
    fade = min(overlap, min(strides) - 1, tile - max(strides))
    middles = [(start + tile + after - fade) // 2 for start, after in itertools.pairwise(starts)]
    fades = [(0, 0), *((middle, middle + fade) for middle in middles), (length, length)]
    spans = (
        Span(start, start + tile, tile, *fade_pair)
        for start, fade_pair in zip(starts, itertools.pairwise(fades), strict=True)
    )
    return AxisPlan(length, tuple(spans))


def _released(length: int, *, even: bool) -> AxisPlan:
    count = length // RELEASED_TILE + 1
    core = -(-length // count)
    padded = core * count
    spans: list[Span] = []
    for i in range(count):
        start = max(i * core - RELEASED_SHAVE, 0)
        stop = min((i + 1) * core + RELEASED_SHAVE, padded)
        size = _even(stop - start) if even else stop - start
        cuts = (i * core, i * core), ((i + 1) * core, (i + 1) * core)
        spans.append(Span(start, stop, size, *cuts))
    return AxisPlan(length, tuple(spans), repeat_edge=True)


def _ramp(
    positions: Float[np.ndarray, " n"], fade: tuple[int, int], scale: int
) -> Float[np.ndarray, " n"]:
    """Returns 0 before a fade, 1 after it, and a straight line between."""
    first, last = fade[0] * scale, fade[1] * scale
    if first == last:
        return (positions > first).astype(np.float64)
    return np.clip((positions - first) / (last - first), 0.0, 1.0)


def _even(size: int) -> int:
    return size + size % 2
