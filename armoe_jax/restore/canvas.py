"""The output image, filled tile by tile without ever holding it in floating point as a whole."""

import numpy as np

from armoe_jax.ops.tiling import TilePlan


class Canvas:
    """Blends the tiles of one image and converts finished rows to the image's dtype.

    Tiles may come in any order. Only rows of tiles that are not finished are kept in float32.

    Args:
        plan: Where the tiles lie.
        scale: Output size over input size.
        channels: Channels of the output.
        dtype: uint8 or uint16 (values are clipped and rounded), or float32 (they are not).
        channels_per_tile: Channels that one call of `add` brings.
    """

    def __init__(
        self,
        plan: TilePlan,
        *,
        scale: int,
        channels: int,
        dtype: np.dtype,
        channels_per_tile: int,
    ):
        self._plan, self._scale = plan, scale
        width = plan.columns.length * scale
        self._image = np.empty((plan.rows.length * scale, width, channels), dtype)
        self._bands: dict[int, np.ndarray] = {}
        adds_per_band = len(plan.columns.spans) * (channels // channels_per_tile)
        self._missing = [adds_per_band] * len(plan.rows.spans)
        self._next_band = 0

    @property
    def finished(self) -> bool:
        """Whether all tiles have been added."""
        return self._next_band == len(self._missing)

    @property
    def image(self) -> np.ndarray:
        """The output, (H, W, channels); complete once `finished`."""
        return self._image

    def add(self, row: int, column: int, tile: np.ndarray, first_channel: int = 0) -> None:
        """Blends one tile in.

        Args:
            row: Index of its span of rows.
            column: Index of its span of columns.
            tile: The network's output, float32, (h, w, c), with any padding at bottom and right.
            first_channel: Where its channels go.
        """
        rows, columns, scale = self._plan.rows, self._plan.columns, self._scale
        row_weights = rows.weights(rows.spans[row], scale)
        column_weights = columns.weights(columns.spans[column], scale)
        kept = tile[: len(row_weights), : len(column_weights)]
        if self._plan.num_tiles > 1:
            kept = kept * (row_weights[:, None] * column_weights)[..., None]
        left = columns.spans[column].start * scale
        channels = slice(first_channel, first_channel + tile.shape[2])
        self._band(row)[:, left : left + len(column_weights), channels] += kept
        self._missing[row] -= 1
        while not self.finished and self._missing[self._next_band] == 0:
            self._finish_band()

    def _band(self, row: int) -> np.ndarray:
        if row not in self._bands:
            rows = self._plan.rows
            span = rows.spans[row]
            height = (rows.valid_stop(span) - span.start) * self._scale
            self._bands[row] = np.zeros((height, *self._image.shape[1:]), np.float32)
        return self._bands[row]

    def _finish_band(self) -> None:
        """Converts the rows that no later tile touches; hands the others to the next band."""
        spans, index = self._plan.rows.spans, self._next_band
        band = self._bands.pop(index)
        start = spans[index].start * self._scale
        stop = start + len(band)
        if index + 1 < len(spans):
            stop = spans[index + 1].start * self._scale
            shared = band[stop - start :]
            self._band(index + 1)[: len(shared)] += shared
        self._image[start:stop] = from_unit(band[: stop - start], self._image.dtype)
        self._next_band += 1


def from_unit(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Converts values in [0, 1]: clipped and rounded for integers, as they are for float32."""
    if dtype.kind == "f":
        return values
    peak = np.iinfo(dtype).max
    return np.rint(np.clip(values, 0.0, 1.0) * np.float32(peak)).astype(dtype)


def to_unit(values: np.ndarray) -> np.ndarray:
    """Converts uint8 or uint16 to float32 in [0, 1]; float32 stays."""
    if values.dtype.kind == "f":
        return values
    return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
