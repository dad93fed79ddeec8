"""The public door: images in, restored images out."""

import collections
import contextlib
import copy
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from armoe_jax.images.jpeg import JpegCoding
from armoe_jax.models import AnyConfig, Routing
from armoe_jax.models.told_quality import told_quality
from armoe_jax.ops.tiling import (
    RELEASED_TILE,
    TilePlan,
    check_tile,
    plan_released,
    plan_tiles,
    plan_whole,
)
from armoe_jax.restore.batches import Batches
from armoe_jax.restore.jobs import Job
from armoe_jax.restore.programs import Programs
from armoe_jax.runtime.memory import available_bytes

AUTO_TILES = (512, 256, 128)
"""Tile sizes that `tile="auto"` tries, largest first."""

MEMORY_SHARE = 0.8
"""Share of the available memory that `tile="auto"` lets one program take."""

ROUGH_BYTES = 150
"""Bytes that a program takes for each pixel and feature channel, guessed (CPU: 75 to 120).

An image that fits by this guess is compiled whole at once, others after the analysis of a tile;
what decides is the analysis of the image's own program.
"""

ACCELERATOR_PIXELS = 512 * 512
"""Pixels that keep an accelerator busy: smaller tiles run together by default."""


class Prepared(NamedTuple):
    """How images of one size go through the network.

    Attributes:
        plan: Their tiles.
        programs: The compiled network, once for each shape of tile.
    """

    plan: TilePlan
    programs: tuple[jax.stages.Compiled, ...]


class Restorer:
    """Restores images of any size from 1x1 pixels with one network.

    Call it with an image. Results depend on the image alone (with `gate="sample"` also on the seed
    and the image's index), never on what else is restored or on the batch size.

    Args:
        config: Architecture.
        variables: {"params": ..., "batch_stats": ...}.
        tile: "none": the whole image at once, as released. A number: tiles of that many pixels
            that overlap and fade into each other; at most four shapes are compiled, whatever the
            images. "auto": whole if it fits memory, else tiles of 512, 256 or 128. "released": the
            tiled test of the released code, with hard cuts.
        overlap: Pixels that neighbouring tiles share, at least; not for "released".
        dtype: Precision of matrix operands, "float32" or "bfloat16".
        gate: "argmax": each block's most likely expert. Differs: the released network always draws
            experts at random; "sample" does, from the seed, the image's and the tile's index.
        seed: Of `gate="sample"`.
        route: "tile": each tile chooses its experts (or its windows do, where the network's windows
            choose). "image": the whole image, reduced to the size of one tile, chooses for all
            tiles.
        batch_size: Tiles (or images of equal size) that run together. By default 1 on CPU, where
            more is not faster; elsewhere 1, or more for tiles of under 512 pixels.
        coding_quality: QP (of JPEG: quality) that the images were coded with, where the network
            adapts to it (`config.quality_range`); by default it estimates that of each image,
            of one in tiles once for all of them.

    Raises:
        ValueError: If an option is not one of these.
    """

    def __init__(
        self,
        config: AnyConfig,
        variables: Mapping[str, Any],
        *,
        tile: str | int = "none",
        overlap: int = 32,
        dtype: str = "float32",
        gate: str = "argmax",
        seed: int = 0,
        route: str = "tile",
        batch_size: int | None = None,
        coding_quality: float | None = None,
    ):
        _require("dtype", dtype, ("float32", "bfloat16"))
        _require("gate", gate, ("argmax", "sample"))
        _require("route", route, ("tile", "image"))
        if coding_quality is not None:
            coding_quality = told_quality(coding_quality, config)
        self._config = config
        self._tile = check_tiling(tile, overlap, config.alignment)
        self._overlap = overlap
        by_image = config.mixture == "released" and bool(config.experts)
        self._route_image = route == "image" and by_image
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected 1 or more")
        on_cpu = jax.default_backend() == "cpu"
        self._batch_size = batch_size or (1 if on_cpu else _accelerator_batch(tile))
        # On CPU two programs in flight would share the cores and double the memory.
        self._in_flight = 1 if on_cpu else 2
        self._programs = Programs(
            config,
            variables,
            dtype=dtype,
            sample=gate == "sample",
            seed=seed,
            quality=coding_quality,
        )
        self._apply = jax.jit(self._apply_model)

    @property
    def config(self) -> AnyConfig:
        """The architecture."""
        return self._config

    @property
    def variables(self) -> Mapping[str, Any]:
        """The weights: {"params": ..., "batch_stats": ...}."""
        return self._programs.variables

    def with_variables(self, variables: Mapping[str, Any]) -> "Restorer":
        """Returns a restorer of other weights that shares what has been compiled for this one.

        Args:
            variables: Of the same architecture, such as those of a later training step.
        """
        other = copy.copy(self)
        other._programs = self._programs.with_variables(variables)
        return other

    @property
    def batch_size(self) -> int:
        """Tiles, or images of equal size, that run together."""
        return self._batch_size

    @property
    def compiled_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Batch, height and width of every program compiled so far for images."""
        return self._programs.shapes

    def prepare(self, height: int, width: int) -> "Prepared":
        """Compiles what images of a size need, which else happens when the first one comes.

        Args:
            height: Rows of the images.
            width: Their columns.

        Returns:
            How such images are cut, and the compiled programs.
        """
        plan = self._plan(height, width)
        shapes = {plan.shape(*tile): None for tile in plan.tiles()}
        programs = [self._programs.program((self._batch_size, *shape)) for shape in shapes]
        return Prepared(plan, tuple(programs))

    def __call__(
        self, image: np.ndarray, *, index: int = 0, coding: JpegCoding | None = None
    ) -> np.ndarray:
        """Restores one image.

        Args:
            image: uint8, uint16, or float32 in [0, 1] (then not clipped); (H, W), (H, W, 1) or
                (H, W, 3) in RGB order.
            index: The image's number, on which gate noise depends.
            coding: How the image was coded, if it is that of a JPEG file or shows that it was one:
                see `armoe_jax.images.jpeg.read_jpeg_coding` and `find_first_coding` of
                `armoe_jax.images.jpeg_history`. Networks without an interval head do not look
                at it. Not for float32.

        Returns:
            An array of the same dtype and axes; sides times `config.scale`.

        Raises:
            TypeError: If the dtype is another.
            ValueError: If the shape is not that of an image.
        """
        return next(self.restore_images([image], indices=[index], codings=[coding]))

    def restore_images(
        self,
        images: Iterable[np.ndarray],
        *,
        indices: Iterable[int] | None = None,
        codings: Iterable[JpegCoding | None] | None = None,
    ) -> Iterator[np.ndarray]:
        """Restores images in order, lazily; tiles and images of equal shape run together.

        Args:
            images: As for a call; read as needed, a few ahead of what is returned.
            indices: The images' numbers, on which gate noise depends; 0, 1, 2, ... by default.
            codings: How they were coded, as for a call; none is known by default.

        Yields:
            One restored image for each.
        """
        batches = Batches(self._programs, self._batch_size, self._in_flight)
        waiting: collections.deque[Job] = collections.deque()
        indices = itertools.count() if indices is None else indices
        codings = itertools.repeat(None) if codings is None else codings
        for image, index, coding in zip(images, indices, codings, strict=False):
            job = self._open(image, index, coding)
            waiting.append(job)
            for tile in job.tiles():
                batches.add(tile)
            if len(waiting) > 2 * self._batch_size:
                batches.flush()
            while waiting and waiting[0].finished:
                yield waiting.popleft().result()
        batches.flush()
        yield from (job.result() for job in waiting)

    def apply(
        self,
        x: Array | np.ndarray,
        *,
        return_routing: bool = False,
        expert: int | Int[Array, "l b *n"] | Int[np.ndarray, "l b *n"] | None = None,
        steps: Float[Array, "b 64"] | Float[np.ndarray, "b 64"] | None = None,
    ) -> Float[Array, "b hs ws c"] | tuple[Float[Array, "b hs ws c"], Routing]:
        """Runs the network on whole images with arg-max routing; may be traced by JAX.

        Args:
            x: float32 in [0, 1], with as many channels as the network.
            return_routing: Also return what the gates decided.
            expert: Force experts: one index for all layers, or (num_layers, B) indices; where
                windows choose, (num_layers, B, windows) too.
            steps: Luma quantiser steps of JPEGs whose blocks start at the corner, 0 where unknown;
                for networks with an interval head.

        Returns:
            float32, not clipped; with `return_routing` also the Routing record: `expert` int32
            (num_layers, B), `logits` (num_layers, B, E); where windows choose, with an axis over
            windows after B.

        Raises:
            TypeError: If x is not float32.
            ValueError: If its shape does not fit the network, or an expert does not exist.
        """
        if x.dtype != jnp.float32:
            raise TypeError(f"x is {x.dtype}, expected float32 in [0, 1]; call the restorer itself")
        if x.ndim != 4 or x.shape[3] != self._config.in_chans or 0 in x.shape:
            raise ValueError(f"x has shape {x.shape}, expected (B, H, W, {self._config.in_chans})")
        width, scale = x.shape[2], self._config.scale
        if width % 2:
            mode = "reflect" if width > 1 else "edge"
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 1), (0, 0)), mode=mode)
        weights = self._programs.stacked_variables
        y, routing = self._apply(weights, x, self._forced(expert, x.shape[0]), steps)
        y = y[:, :, : width * scale] if width % 2 else y
        return (y, routing) if return_routing else y

    def _apply_model(
        self, variables: Mapping[str, Any], x: Array, expert: Array | None, steps: Array | None
    ) -> Any:
        coding = self._programs.coding_of(x.shape[0], steps)
        return self._programs.model.apply(
            variables, x, expert=expert, return_routing=True, **coding
        )

    def _forced(self, expert: Any, batch: int) -> Array | None:
        if expert is None:
            return None
        layers, names = self._config.num_layers, self._config.experts
        shape = np.shape(expert)
        by_window = self._config.mixture == "windowed" and len(shape) == 3
        if shape[: 2 if by_window else None] not in ((), (layers, batch)):
            raise ValueError(f"expert has shape {shape}, expected {(layers, batch)}: layers, batch")
        with contextlib.suppress(jax.errors.TracerArrayConversionError):
            values = np.asarray(expert)
            if values.min() < 0 or values.max() >= len(names):
                raise ValueError(f"expert is {expert}, expected 0 to {len(names) - 1} for {names}")
        return jnp.broadcast_to(jnp.asarray(expert, jnp.int32), shape or (layers, batch))

    def _open(self, image: np.ndarray, index: int, coding: JpegCoding | None) -> Job:
        _check_image(image)
        height, width = image.shape[:2]
        if coding is not None:
            _check_coding(coding, image)
            if self._config.interval_head:
                height, width = (8 * count for count in coding.luma.shape[:2])
            else:
                coding = None
        plan = self._plan(height, width)
        job = Job(image, index, plan, self._config.in_chans, self._config.scale, coding)
        if self._route_image and plan.num_tiles > 1:
            job.biases = [self._choose_for_all(job, plane) for plane in range(job.num_planes)]
        else:
            job.biases = [self._programs.no_bias()] * job.num_planes
        if self._programs.estimates and plan.num_tiles > 1:
            job.estimates = [self._estimate(job, plane) for plane in range(job.num_planes)]
        return job

    def _estimate(self, job: Job, plane: int) -> float:
        return float(self._programs.estimate(job.places(plane)[None])[0])

    def _choose_for_all(self, job: Job, plane: int) -> np.ndarray:
        """Runs the reduced image through the network, for its choice of experts alone."""
        batch = self._batch_size
        x = np.repeat(job.overview(plane)[None], batch, axis=0)
        bias = np.repeat(self._programs.no_bias()[:, None], batch, axis=1)
        samples = np.full((batch, 2), (job.index, plane), np.uint32)
        steps = np.repeat(job.steps[None], batch, axis=0)
        _, expert = self._programs.run(x, bias, samples, steps)
        return self._programs.forcing_bias(np.asarray(expert)[:, 0])

    def _plan(self, height: int, width: int) -> TilePlan:
        if self._tile == "none":
            return plan_whole(height, width)
        if self._tile == "released":
            return plan_released(height, width)
        if self._tile == "auto":
            if self._whole_fits(height, width):
                return plan_whole(height, width)
            return self._plan_tiles(height, width, self._auto_tile())
        return self._plan_tiles(height, width, int(self._tile))

    def _plan_tiles(self, height: int, width: int, tile: int) -> TilePlan:
        alignment = self._config.alignment
        return plan_tiles(height, width, tile, self._overlap, alignment=alignment)

    def _whole_fits(self, height: int, width: int) -> bool:
        """Decides by an estimate first, then by XLA's analysis of the very program."""
        shape = (self._batch_size, height, width + width % 2)
        pixels = math.prod(shape)
        surely = pixels * self._config.embed_dim * ROUGH_BYTES <= self._memory_limit
        if surely or pixels * self._bytes_per_pixel() <= self._memory_limit:
            return self._programs.memory_bytes(shape) <= self._memory_limit
        return False

    @functools.cached_property
    def _memory_limit(self) -> float:
        """Bytes one program may take; fixed at first use, so that equal images are cut equally."""
        return MEMORY_SHARE * available_bytes()

    def _bytes_per_pixel(self) -> float:
        """Extrapolates from the largest program, at least the one that tiles would need."""
        tile = self._auto_tile()
        shapes = {*self.compiled_shapes, (self._batch_size, tile, tile)}
        largest = max(shapes, key=math.prod)
        return self._programs.memory_bytes(largest) / math.prod(largest)

    def _auto_tile(self) -> int:
        for tile in AUTO_TILES:
            if self._programs.memory_bytes((self._batch_size, tile, tile)) <= self._memory_limit:
                return tile
        return AUTO_TILES[-1]


def _accelerator_batch(tile: str | int) -> int:
    side = RELEASED_TILE if tile == "released" else tile
    return max(ACCELERATOR_PIXELS // side**2, 1) if isinstance(side, int) else 1


def _require(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, expected one of {allowed}")


def check_tiling(tile: Any, overlap: int, alignment: int) -> str | int:
    """Returns the option `tile` of a `Restorer`; raises ValueError if it is none.

    Args:
        tile: As in `Restorer`.
        overlap: As in `Restorer`.
        alignment: Of the network (`config.alignment`).
    """
    if isinstance(tile, int) and not isinstance(tile, bool):
        check_tile(tile, overlap)
        if tile % alignment:
            raise ValueError(f"tile is {tile}; this network needs a multiple of {alignment}")
    elif tile not in ("none", "auto", "released"):
        raise ValueError(f"tile is {tile!r}, expected 'none', 'auto', 'released' or a number")
    elif tile == "released" and alignment > 1:
        raise ValueError("tile='released' is for the released networks; use 'auto' or a number")
    elif tile == "auto":
        check_tile(AUTO_TILES[-1], overlap)
    return tile


def _check_coding(coding: JpegCoding, image: np.ndarray) -> None:
    if image.dtype.kind != "u" or coding.size != image.shape[:2]:
        raise ValueError(
            f"coding is that of a uint8 or uint16 image of shape {coding.size}, but the image is "
            f"{image.dtype} of shape {image.shape[:2]}; give the image as it was decoded"
        )


def _check_image(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray) or image.dtype not in (np.uint8, np.uint16, np.float32):
        seen = getattr(image, "dtype", type(image).__name__)
        raise TypeError(f"the image is {seen}, expected a NumPy array of uint8, uint16 or float32")
    if image.ndim not in (2, 3) or 0 in image.shape or image.shape[2:] not in ((), (1,), (3,)):
        raise ValueError(
            f"the image has shape {image.shape}, expected (H, W), (H, W, 1) or (H, W, 3)"
            + ("; keep the alpha channel apart" if image.shape[2:] in ((2,), (4,)) else "")
        )
