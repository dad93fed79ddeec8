"""One image on its way through the network: its tiles in, its canvas out."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from armoe_jax.images.jpeg import JpegCoding
from armoe_jax.models.quality_estimator import PLACE
from armoe_jax.ops.luma import LUMA
from armoe_jax.ops.tiling import TilePlan
from armoe_jax.restore.canvas import Canvas, to_unit

PLACES = 64
"""Places a side that tell how strongly an image in tiles was coded: a megapixel."""


class Job:
    """Cuts one image into what the network takes, and puts its outputs together.

    A gray image for an RGB network is replicated and the mean returned; an RGB image for a gray
    network goes through it channel by channel.

    Args:
        image: uint8, uint16, or float32 in [0, 1]; (H, W), (H, W, 1) or (H, W, 3).
        index: The image's number, for gate noise.
        plan: Its tiles.
        in_chans: Channels of the network.
        scale: Output size over input size.
        coding: How a JPEG was coded; the plan then is that of its whole blocks.
    """

    def __init__(
        self,
        image: np.ndarray,
        index: int,
        plan: TilePlan,
        in_chans: int,
        scale: int,
        coding: JpegCoding | None = None,
    ):
        self.index, self.plan = index, plan
        self._ndim = image.ndim
        self._image = image[..., None] if image.ndim == 2 else image
        self.steps = np.zeros(64, np.float32)
        self._inside = np.s_[:, :]
        if coding is not None:
            self.steps = coding.luma_table.astype(np.float32).ravel()
            (top, _), (left, _) = coding.padding
            self._inside = np.s_[top : top + image.shape[0], left : left + image.shape[1]]
            self._image = on_blocks(self._image, coding)
        self._channels = self._image.shape[2]
        self._in_chans = in_chans
        self.num_planes = self._channels if in_chans == 1 else 1
        self.biases: list[np.ndarray] = []
        self.estimates = [np.nan] * self.num_planes
        self._canvas = Canvas(
            plan,
            scale=scale,
            channels=self._channels,
            dtype=image.dtype,
            channels_per_tile=self._channels // self.num_planes,
        )

    @property
    def finished(self) -> bool:
        """Whether all tiles came back."""
        return self._canvas.finished

    def result(self) -> np.ndarray:
        """Returns the restored image, with the axes and dtype of the input."""
        image = self._canvas.image[self._inside]
        return image[..., 0] if self._ndim == 2 else image

    def tiles(self) -> Iterator["Tile"]:
        """Yields what the network has to do, tile by tile."""
        for number, (row, column) in enumerate(self.plan.tiles()):
            for plane in range(self.num_planes):
                yield Tile(self, row, column, plane, number * self.num_planes + plane)

    def pixels(self, row: int, column: int, plane: int) -> np.ndarray:
        """Returns one tile as the network sees it, float32, (h, w, in_chans)."""
        rows, columns = self.plan.rows, self.plan.columns
        window = np.ix_(
            rows.source_indices(rows.spans[row]), columns.source_indices(columns.spans[column])
        )
        return self._for_network(self._image[window], plane)

    def overview(self, plane: int) -> np.ndarray:
        """Returns the whole image, reduced to fit one tile and mirrored to fill it.

        Reduced by averaging squares of pixels; up to one square at the far sides is left out.
        """
        height, width = self.plan.shape(0, 0)
        rows, columns = self._image.shape[:2]
        factor = max(-(-rows // height), -(-columns // width))
        small = self._image
        if factor > 1:
            rows, columns = max(rows // factor, 1), max(columns // factor, 1)
            squares = small[: rows * factor, : columns * factor]
            squares = squares.reshape(
                rows, squares.shape[0] // rows, columns, squares.shape[1] // columns, -1
            )
            unit = 1.0 if small.dtype.kind == "f" else np.iinfo(small.dtype).max
            small = squares.mean(axis=(1, 3), dtype=np.float32) / np.float32(unit)
        padding = ((0, height - rows), (0, width - columns), (0, 0))
        return self._for_network(np.pad(small, padding, mode="symmetric"), plane)

    def places(self, plane: int) -> np.ndarray:
        """Returns the image's places in one that looks alike to an estimator, whatever its size.

        Estimators ask each place of PLACE x PLACE pixels and take means over all, so places may
        change theirs. Of a larger image they are spread evenly, those of a smaller one recur.

        Returns:
            float32, (PLACE * PLACES, PLACE * PLACES, in_chans), as the network sees it.
        """
        image, (height, width) = self._image, self._image.shape[:2]
        if min(height, width) < PLACE:  # else it would be copied
            missing = [(0, max(PLACE - height, 0)), (0, max(PLACE - width, 0)), (0, 0)]
            image = np.pad(image, missing, mode="edge")
        rows, columns = (length // PLACE for length in image.shape[:2])
        places = image[: rows * PLACE, : columns * PLACE].reshape(rows, PLACE, columns, PLACE, -1)
        row, column = np.divmod(np.arange(PLACES**2) * (rows * columns) // PLACES**2, columns)
        some = places[row, :, column].reshape(PLACES, PLACES, PLACE, PLACE, -1)
        some = some.swapaxes(1, 2).reshape(PLACES * PLACE, PLACES * PLACE, -1)
        return self._for_network(some, plane)

    def add(self, tile: "Tile", output: np.ndarray) -> None:
        """Takes a tile's output, float32, (h, w, in_chans)."""
        if not np.isfinite(output).all():
            raise ValueError(
                "the network returned values that are not finite; check the checkpoint, "
                "or use float32"
            )
        if self._channels < output.shape[2]:
            output = output.mean(axis=2, keepdims=True)
        self._canvas.add(tile.row, tile.column, output, first_channel=tile.plane)

    def _for_network(self, pixels: np.ndarray, plane: int) -> np.ndarray:
        pixels = to_unit(pixels)
        if self._in_chans == 1:
            return pixels[..., plane : plane + 1]
        return np.repeat(pixels, 3, axis=2) if self._channels == 1 else pixels


def on_blocks(image: np.ndarray, coding: JpegCoding) -> np.ndarray:
    """Returns a JPEG's image on its whole blocks, with the luma that its coefficients tell exactly.

    Blocks that reach beyond the image and whose coefficients are in doubt stay as decoded.

    Args:
        image: uint8 or uint16, (H, W, 1 or 3), as decoded.
        coding: How it was coded.

    Returns:
        float32 in about [0, 1], neither rounded nor clipped; sides are multiples of 8.
    """
    padded = to_unit(np.pad(image, (*coding.padding, (0, 0)), mode="symmetric"))
    weights = np.array(LUMA if padded.shape[2] == 3 else (1.0,), np.float32)
    exact = (coding.block_luma() + 128.0) / np.float32(255)
    known = (coding.inside | coding.certain).repeat(8, axis=0).repeat(8, axis=1)
    change = np.where(known, exact - padded @ weights, 0.0)
    return padded + change[..., None]


class Tile(NamedTuple):
    """One pass of one image through the network.

    Attributes:
        job: The image.
        row: Index of the span of rows.
        column: Index of the span of columns.
        plane: Channel, where channels go one by one; else 0.
        number: Index among the passes of this image, for gate noise.
    """

    job: Job
    row: int
    column: int
    plane: int
    number: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width as the network sees it."""
        return self.job.plan.shape(self.row, self.column)
