"""Maps of training examples: paired crops, flips and transposition, JPEG, channels, reduction."""

import dataclasses
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image as PILImage

from armoe_jax.metrics import luma
from armoe_jax.ops.resize import imresize
from input_pipeline.codecs import CODEC_IDS
from input_pipeline.codecs.jpeg import encode_jpeg
from input_pipeline.example import NUM_STEPS, Batch, Example, Image

JPEG_MARGIN = 16
"""Pixels coded beside a patch: the largest coding unit, so that its grid falls anywhere."""


class Patches(TypedDict):
    """Patches of one image and their labels."""

    lq: list[UInt8[np.ndarray, "p p c"]]
    gt: list[UInt8[np.ndarray, "ps ps c"]]
    qp: list[int]
    codec: list[int]
    log2_step: list[float]
    steps: list[Float32[np.ndarray, " f"] | None]
    on_grid: list[bool]


@dataclasses.dataclass(frozen=True)
class JPEGDegradation:
    """Codes at a random quality and subsampling.

    Attributes:
        quality: Smallest and largest.
        subsamplings: Equally frequent.
        on_grid: Whether patches start on the coding grid.
        twice: Share of images that were coded before at another quality, half of them on another
            grid; their `log2_step` is that of the coarser coding.
    """

    quality: tuple[int, int]
    subsamplings: tuple[str, ...]
    on_grid: bool = False
    twice: float = 0.0

    def __call__(self, image: Image, rng: np.random.Generator) -> Example:
        """Returns the coded image beside the original."""
        source, coarser = image, 0.0
        if rng.random() < self.twice:
            source, coarser = self._coded_before(image, rng)
        decoded, steps, quality = self._code(source, rng)
        return Example(
            decoded,
            image,
            quality,
            CODEC_IDS["jpeg"],
            log2_step=max(coarser, log2_mean(steps)),
            steps=steps,
            on_grid=True,
        )

    def _coded_before(self, image: Image, rng: np.random.Generator) -> tuple[Image, float]:
        top, left = rng.integers(0, 8, 2).tolist() if rng.random() < 0.5 else (0, 0)
        margins = ((top, 0), (left, 0), (0, 0))
        decoded, steps, _ = self._code(np.pad(image, margins, mode="edge"), rng)
        return np.ascontiguousarray(decoded[top:, left:]), log2_mean(steps)

    def _code(
        self, image: Image, rng: np.random.Generator
    ) -> tuple[Image, Float32[np.ndarray, " f"], int]:
        quality = int(rng.integers(self.quality[0], self.quality[1] + 1))
        subsampling = self.subsamplings[int(rng.integers(len(self.subsamplings)))]
        return *code_as_jpeg(image, quality, subsampling), quality


def code_as_jpeg(
    image: Image, quality: int, subsampling: str
) -> tuple[Image, Float32[np.ndarray, " f"]]:
    """Returns an image, gray or RGB, after JPEG coding, and the steps of its luma."""
    gray = image.shape[2] == 1
    plane = np.ascontiguousarray(image[..., 0] if gray else image)
    coded = encode_jpeg(plane, quality, "4:4:4" if gray else subsampling)
    with PILImage.open(io.BytesIO(coded), formats=("JPEG",)) as picture:
        steps = np.array(picture.quantization[0], np.float32)  # pyright: ignore
        decoded = np.asarray(picture)
    return (decoded[..., None] if gray else decoded), steps


@dataclasses.dataclass(frozen=True)
class RandomPatches:
    """Cuts patches at the same random place of lq and gt, turned the same way.

    Attributes:
        size: Side of an lq patch in pixels.
        scale: Side of gt over side of lq.
        count: Patches per image; with a degradation they lie side by side, coded at once.
        augment: Flip each axis, and transpose, each with probability 1/2: eight ways in all.
        grid: Patches of examples that have their lq start at multiples of this many pixels.
        degradation: Makes lq from gt after cropping; None if the example has its lq.
    """

    size: int
    scale: int = 1
    count: int = 1
    augment: bool = True
    grid: int = 1
    degradation: JPEGDegradation | None = None

    def __call__(self, element: Example, rng: np.random.Generator) -> Patches:
        """Returns `count` patches of an example."""
        patches = Patches(lq=[], gt=[], qp=[], codec=[], log2_step=[], steps=[], on_grid=[])
        for example in itertools.islice(self._examples(element, rng), self.count):
            patches["lq"].append(example.lq)
            patches["gt"].append(example.gt)
            patches["qp"].append(example.qp)
            patches["codec"].append(example.codec)
            patches["log2_step"].append(example.log2_step)
            patches["steps"].append(example.steps)
            patches["on_grid"].append(example.on_grid)
        return patches

    def _examples(self, element: Example, rng: np.random.Generator) -> Iterator[Example]:
        """Yields patches without end; those that are coded together have one quality."""
        while True:
            if self.degradation is None:
                yield self._turned(self._crop(element, rng), rng)
            elif self.degradation.on_grid:
                yield from self._on_grid(element.gt, self.degradation, rng)
            else:
                for patch in self._off_grid(element.gt, self.degradation, rng):
                    yield self._turned(patch, rng)

    def _crop(self, example: Example, rng: np.random.Generator) -> Example:
        size, scale = self.size, self.scale
        top, left = random_corner(example.lq.shape, (size, size), rng, self.grid)
        lq = example.lq[top : top + size, left : left + size]
        top, left, size = top * scale, left * scale, size * scale
        gt = example.gt[top : top + size, left : left + size]
        return dataclasses.replace(example, lq=lq, gt=gt)

    def _on_grid(
        self, image: Image, degradation: JPEGDegradation, rng: np.random.Generator
    ) -> Iterator[Example]:
        """Codes a region turned: the steps then are those of the patches as they stand."""
        # Where patches are no multiples of a coding unit, the grid meets the first one's corner.
        together = self.size % JPEG_MARGIN == 0
        height, width = self._region(image) if together else (self.size, self.size)
        top, left = random_corner(image.shape, (height, width), rng)
        region = image[top : top + height, left : left + width]
        region = self._turned(Example(region, region), rng).gt
        yield from self._split(degradation(np.ascontiguousarray(region), rng))

    def _off_grid(
        self, image: Image, degradation: JPEGDegradation, rng: np.random.Generator
    ) -> Iterator[Example]:
        """Codes a somewhat larger region, so that patches lie anywhere on the coding grid."""
        sides, region = self._region(image), image
        for axis, side in enumerate(sides):
            length = min(side + JPEG_MARGIN, image.shape[axis])
            start = int(rng.random() * (image.shape[axis] - length + 1))
            region = (
                region[start : start + length] if axis == 0 else region[:, start : start + length]
            )
        coded = degradation(region, rng)
        top, left = random_corner(region.shape, sides, rng)
        window = np.s_[top : top + sides[0], left : left + sides[1]]
        on_grid = False  # or by chance, which nobody would know
        yield from self._split(
            dataclasses.replace(coded, lq=coded.lq[window], gt=coded.gt[window], on_grid=on_grid)
        )

    def _region(self, image: Image) -> tuple[int, int]:
        """Returns height and width of the patches that are coded at once, side by side.

        Each call of the coder and decoder takes as long beside its work as 140x140 pixels do.
        """
        rows = max(1, min(math.isqrt(self.count), image.shape[0] // self.size))
        columns = max(1, min(-(-self.count // rows), image.shape[1] // self.size))
        return rows * self.size, columns * self.size

    def _split(self, region: Example) -> Iterator[Example]:
        """Yields the patches that lie side by side in a region, row by row."""
        for top, left in itertools.product(
            *(range(0, side, self.size) for side in region.lq.shape[:2])
        ):
            window = np.s_[top : top + self.size, left : left + self.size]
            yield dataclasses.replace(region, lq=region.lq[window], gt=region.gt[window])

    def _turned(self, example: Example, rng: np.random.Generator) -> Example:
        if not self.augment:
            return example
        ways = (rng.random(3) < 0.5).tolist()
        return dataclasses.replace(example, lq=turn(example.lq, *ways), gt=turn(example.gt, *ways))


def random_corner(
    shape: tuple[int, ...], sides: tuple[int, int], rng: np.random.Generator, grid: int = 1
) -> tuple[int, int]:
    """Returns top and left of a window, uniform over its places in the image that lie on a grid."""
    (height, width), (rows, columns) = shape[:2], sides
    if height < rows or width < columns:
        raise ValueError(f"image of {width}x{height} is smaller than the patch of {columns}x{rows}")
    down, across = rng.random(2)
    places = (height - rows) // grid + 1, (width - columns) // grid + 1
    return int(down * places[0]) * grid, int(across * places[1]) * grid


def turn(image: Image, flip_rows: bool, flip_columns: bool, transpose: bool) -> Image:
    """Returns a view of an image, flipped, then transposed."""
    if flip_rows:
        image = image[::-1]
    if flip_columns:
        image = image[:, ::-1]
    return image.swapaxes(0, 1) if transpose else image


def to_channels(image: Image, in_chans: int) -> Image:
    """Returns an image with 1 or 3 channels: gray is repeated, colour becomes rounded luma."""
    if image.shape[2] == in_chans:
        return image
    if in_chans == 3:
        return np.repeat(image, 3, axis=2)
    return np.clip(np.round(luma(image)), 0, 255).astype(np.uint8)[..., None]


def reduce_bicubic(gt: Image, scale: int) -> tuple[Image, Image]:
    """Crops an original to a multiple of the scale and returns it with its bicubic reduction."""
    height, width = (side - side % scale for side in gt.shape[:2])
    if height == 0 or width == 0:
        raise ValueError(f"image of {gt.shape[1]}x{gt.shape[0]} is smaller than scale {scale}")
    cropped = np.ascontiguousarray(gt[:height, :width])
    reduced = imresize(cropped.astype(np.float32), 1 / scale)
    return cropped, np.clip(np.round(reduced), 0, 255).astype(np.uint8)


def collate(elements: Sequence[Patches]) -> Batch:
    """Joins patches to a batch of float32 images in [0, 1] with int32 labels."""
    return Batch(
        lq=_to_unit_range([patch for element in elements for patch in element["lq"]]),
        gt=_to_unit_range([patch for element in elements for patch in element["gt"]]),
        qp=np.array([qp for element in elements for qp in element["qp"]], np.int32),
        codec=np.array([codec for element in elements for codec in element["codec"]], np.int32),
        log2_step=np.array(
            [step for element in elements for step in element["log2_step"]], np.float32
        ),
        steps=np.stack(
            [
                _NO_STEPS if steps is None or not on_grid else steps
                for element in elements
                for steps, on_grid in zip(element["steps"], element["on_grid"], strict=True)
            ]
        ),
    )


_NO_STEPS = np.zeros(NUM_STEPS, np.float32)


def log2_mean(steps: Float32[np.ndarray, " f"]) -> float:
    """Returns the base 2 logarithm of the mean step."""
    return float(np.log2(steps.mean()))


def _to_unit_range(patches: list[Image]) -> np.ndarray:
    samples = np.empty((len(patches), *patches[0].shape), np.uint8)
    for index, patch in enumerate(patches):
        for channel in range(patch.shape[-1]):  # twice as fast for those that are transposed
            samples[index, ..., channel] = patch[..., channel]
    return np.divide(samples, np.float32(255), dtype=np.float32)
