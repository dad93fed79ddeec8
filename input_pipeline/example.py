"""What the pipeline passes on: pairs of images and batches for training."""

import dataclasses
from typing import TypedDict

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from armoe_jax.images.jpeg import JpegCoding

Image = UInt8[np.ndarray, "_ _ _"]
"""uint8, (H, W, C); the sides of several images in one signature need not be equal."""

NUM_STEPS = 64
"""Luma quantiser steps of a JPEG: one for each frequency of its 8x8 blocks, row by row."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """A compressed (or reduced) image beside its original.

    Attributes:
        name: The file's stem.
        lq: Low quality input, uint8 (H, W, C).
        gt: Ground truth, uint8 (H * scale, W * scale, C).
        coding: How lq was coded, if it is a JPEG whose file is known.
    """

    name: str
    lq: UInt8[np.ndarray, "h w c"]
    gt: UInt8[np.ndarray, "hs ws c"]
    coding: JpegCoding | None = None


@dataclasses.dataclass(frozen=True)
class Example:
    """One training image with its labels; where only `gt` is stored, `lq` is the same array.

    Attributes:
        lq: uint8 (H, W, C).
        gt: uint8 (H * scale, W * scale, C).
        qp: Quality that the codec was given; -1 if unknown.
        codec: A value of `input_pipeline.codecs.CODEC_IDS`; 0 if none or unknown.
        log2_step: Base 2 logarithm of the mean luma step of a JPEG coded on the fly; 0 otherwise.
        steps: Luma quantiser steps of a JPEG coded on the fly, (NUM_STEPS,); None otherwise.
        on_grid: Whether the coding grid starts at lq's corner.
    """

    lq: UInt8[np.ndarray, "h w c"]
    gt: UInt8[np.ndarray, "hs ws c"]
    qp: int = -1
    codec: int = 0
    log2_step: float = 0.0
    steps: Float32[np.ndarray, " f"] | None = None
    on_grid: bool = False


class Batch(TypedDict):
    """A training batch: images in [0, 1], labels as in `Example`.

    `log2_step` is the base 2 logarithm of a JPEG's mean luma step, 0 for other codecs; `steps` are
    the luma steps of JPEGs whose coding grid starts at the corner, 0 for all others.
    """

    lq: Float32[np.ndarray, "b h w c"]
    gt: Float32[np.ndarray, "b hs ws c"]
    qp: Int32[np.ndarray, " b"]
    codec: Int32[np.ndarray, " b"]
    log2_step: Float32[np.ndarray, " b"]
    steps: Float32[np.ndarray, "b f"]
