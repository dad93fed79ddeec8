"""Tiles of equal shape, run together and handed back to the images that they belong to."""

import collections

import jax
import numpy as np

from armoe_jax.restore.jobs import Tile
from armoe_jax.restore.programs import Programs


class Batches:
    """Gathers tiles of equal shape and runs them, `batch_size` at a time.

    Args:
        programs: The compiled network.
        batch_size: Tiles that run together.
        in_flight: Batches that may run before the first of them is collected.
    """

    def __init__(self, programs: Programs, batch_size: int, in_flight: int):
        self._programs, self._batch_size = programs, batch_size
        self._limit = in_flight
        self._gathered: dict[tuple[int, int], list[Tile]] = {}
        self._running: collections.deque[tuple[list[Tile], jax.Array]] = collections.deque()

    def add(self, tile: Tile) -> None:
        """Takes a tile; runs its batch if that is full."""
        tiles = self._gathered.setdefault(tile.shape, [])
        tiles.append(tile)
        if len(tiles) == self._batch_size:
            self._run(self._gathered.pop(tile.shape))

    def flush(self) -> None:
        """Runs what is gathered and collects all outputs."""
        while self._gathered:
            self._run(self._gathered.pop(next(iter(self._gathered))))
        while self._running:
            self._collect()

    def _run(self, tiles: list[Tile]) -> None:
        # A last batch is filled up by repetition, as another shape would have to be compiled; only
        # what is alone from the start runs alone.
        alone = len(tiles) == 1 and (self._batch_size, *tiles[0].shape) not in self._programs.shapes
        batch_size = 1 if alone else self._batch_size
        full = [tiles[min(i, len(tiles) - 1)] for i in range(batch_size)]
        x = np.stack([t.job.pixels(t.row, t.column, t.plane) for t in full])
        bias = np.stack([t.job.biases[t.plane] for t in full], axis=1)
        samples = np.array([(t.job.index, t.number) for t in full], np.uint32)
        steps = np.stack([t.job.steps for t in full])
        estimates = np.array([t.job.estimates[t.plane] for t in full], np.float32)
        output, _ = self._programs.run(x, bias, samples, steps, estimates)
        self._running.append((tiles, output))
        while len(self._running) >= self._limit:
            self._collect()

    def _collect(self) -> None:
        tiles, output = self._running.popleft()
        for tile, values in zip(tiles, np.asarray(output), strict=False):
            tile.job.add(tile, values)
