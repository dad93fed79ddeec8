"""Conversion between planar YUV (Y'CbCr) samples and RGB, with explicit matrix, range and siting.

Nothing is guessed here and nothing depends on the CPU: float32 NumPy, one rounding at each end.

    Y  = Kr R + (1 - Kr - Kb) G + Kb B,   Cb = (B - Y) / (2 (1 - Kb)),   Cr = (R - Y) / (2 (1 - Kr))

with limited range at n bits: 2^(n-8) (219 Y + 16) and 2^(n-8) (224 C + 128); full range:
(2^n - 1) Y and (2^n - 1) C + 2^(n-1). Chroma is interpolated with Keys' cubic (a = -1/2) at the
positions that the siting states, and reduced with the same kernel stretched over two pixels.

Training pairs are converted by FFmpeg's scaler (`input_pipeline.codecs.color`), which stays: it
defines the bytes of data sets. It has 8 bits and chroma at the centre; told "center", this module
gives the same pictures: on the 24 Kodak images in H.265 at QP 27 the difference is 62.9 dB of RGB,
69.8 dB of luma and at most 4 levels of 255. With "left", where most videos have their chroma, it is
50.9 and 63.9 dB and up to 31 levels, all of it at edges of colours.

Source: ITU-T H.273 section 8.3 (matrix coefficients, range), table of chroma sample locations.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, UInt16
from numpy.typing import NDArray

from armoe_jax.ops.luma import LUMA
from armoe_jax.video.yuv import Planes, YuvFormat

LUMA_WEIGHTS = {
    "bt601": (LUMA[0], LUMA[2]),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
}
"""Matrix -> (Kr, Kb)."""

SITINGS = {"left": (0.0, 0.5), "center": (0.5, 0.5), "topleft": (0.0, 0.0)}
"""Siting -> (x, y) of a chroma sample inside its 2x2 luma samples, in luma pixels."""

_RGB_PEAK = 65535.0


@dataclasses.dataclass(frozen=True)
class ColorSpec:
    """How samples stand for colours.

    Attributes:
        matrix: A key of `LUMA_WEIGHTS`.
        full_range: True if black is 0 and white 2^n - 1; False for 16 to 235 (times 2^(n-8)).
        siting: A key of `SITINGS`; for 4:2:2 only its horizontal part counts.

    Raises:
        ValueError: If matrix or siting is unknown.
    """

    matrix: str = "bt601"
    full_range: bool = False
    siting: str = "left"

    def __post_init__(self) -> None:
        if self.matrix not in LUMA_WEIGHTS:
            raise ValueError(f"colour matrix {self.matrix!r} is not one of {sorted(LUMA_WEIGHTS)}")
        if self.siting not in SITINGS:
            raise ValueError(f"chroma siting {self.siting!r} is not one of {sorted(SITINGS)}")


def planes_to_rgb(
    planes: Planes, fmt: YuvFormat, spec: ColorSpec
) -> UInt16[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w"]:
    """Converts a frame to 16-bit RGB (gray stays gray).

    Args:
        planes: Samples of the frame.
        fmt: Its format.
        spec: Its colours.

    Returns:
        0 to 65535 for black to white; colours outside the RGB cube are clipped.
    """
    luma_scale, luma_zero, chroma_scale, chroma_zero = _levels(fmt.bits, spec.full_range)
    luma = (planes[0].astype(np.float32) - luma_zero) / luma_scale
    if fmt.chroma == "400":
        return _to_uint16(luma)
    cb, cr = (
        upsample_chroma((plane.astype(np.float32) - chroma_zero) / chroma_scale, fmt, spec.siting)
        for plane in planes[1:]
    )
    kr, kb = LUMA_WEIGHTS[spec.matrix]
    red = luma + 2 * (1 - kr) * cr
    blue = luma + 2 * (1 - kb) * cb
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return _to_uint16(np.stack([red, green, blue], axis=-1))


def rgb_to_planes(rgb: NDArray[np.generic], fmt: YuvFormat, spec: ColorSpec) -> Planes:
    """Converts 16- or 8-bit RGB or gray to a frame.

    Args:
        rgb: uint16 or uint8 of `fmt`'s size: (H, W, 3) RGB, or (H, W) gray. Of RGB a gray format
            takes the luma; of gray a colour format has neutral chroma.
        fmt: Wanted format.
        spec: Wanted colours.

    Raises:
        ValueError: If the array does not have the format's size, or another type or shape.
    """
    size = (fmt.height, fmt.width)
    if rgb.shape not in (size, (*size, 3)) or rgb.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"picture {rgb.shape} {rgb.dtype}; expected uint8 or uint16 {(*size, 3)} or {size}"
        )
    luma_scale, luma_zero, chroma_scale, chroma_zero = _levels(fmt.bits, spec.full_range)
    scaled = rgb.astype(np.float32) / np.iinfo(rgb.dtype).max
    if scaled.ndim == 2:
        luma = scaled
        chroma = [np.zeros(shape, np.float32) for shape in fmt.plane_shapes[1:]]
    else:
        kr, kb = LUMA_WEIGHTS[spec.matrix]
        red, green, blue = scaled[..., 0], scaled[..., 1], scaled[..., 2]
        luma = kr * red + (1 - kr - kb) * green + kb * blue
        differences = ((blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr)))
        count = len(fmt.plane_shapes) - 1
        chroma = [downsample_chroma(plane, fmt, spec.siting) for plane in differences[:count]]
    return (
        _quantise(luma * luma_scale + luma_zero, fmt),
        *(_quantise(plane * chroma_scale + chroma_zero, fmt) for plane in chroma),
    )


def upsample_chroma(
    plane: Float[np.ndarray, "ch cw"], fmt: YuvFormat, siting: str
) -> Float[np.ndarray, "h w"]:
    """Interpolates a chroma plane at the luma positions of `fmt`."""
    shift_x, shift_y = SITINGS[siting]
    if fmt.chroma == "420":
        plane = _interpolate(plane, fmt.height, shift_y)
    if fmt.chroma in {"420", "422"}:
        plane = _interpolate(plane.T, fmt.width, shift_x).T
    return plane


def downsample_chroma(
    plane: Float[np.ndarray, "h w"], fmt: YuvFormat, siting: str
) -> Float[np.ndarray, "ch cw"]:
    """Low-passes a full-size plane and samples it at the chroma positions of `fmt`."""
    shift_x, shift_y = SITINGS[siting]
    if fmt.chroma in {"420", "422"}:
        plane = _reduce(plane.T, shift_x).T
    if fmt.chroma == "420":
        plane = _reduce(plane, shift_y)
    return plane


def _interpolate(plane: NDArray[np.float32], rows: int, shift: float) -> NDArray[np.float32]:
    """Doubles the rows of a plane whose row i lies at luma row 2 i + shift."""
    out = np.empty((2 * plane.shape[0], plane.shape[1]), np.float32)
    for phase in (0, 1):
        # Luma row 2 i + phase lies at chroma position i + offset.
        offset = (phase - shift) / 2
        first = int(np.floor(offset)) - 1
        weights = _keys(offset - (first + np.arange(4)))
        out[phase::2] = _filter_rows(plane, weights, first, step=1)
    return out[:rows]


def _reduce(plane: NDArray[np.float32], shift: float) -> NDArray[np.float32]:
    """Halves the rows of a plane: row i of the result lies at row 2 i + shift."""
    first = int(np.floor(shift)) - 3
    weights = _keys((shift - (first + np.arange(8))) / 2)
    if plane.shape[0] % 2:
        plane = np.concatenate([plane, plane[-1:]])
    return _filter_rows(plane, weights, first, step=2)


def _filter_rows(
    plane: NDArray[np.float32], weights: NDArray[np.floating], first: int, step: int
) -> NDArray[np.float32]:
    """out[i] = sum_k weights[k] plane[step i + first + k], edge rows repeated."""
    weights = weights / weights.sum()
    before, after = max(0, -first), max(0, first + len(weights) - 1)
    padded = np.pad(plane, ((before, after), (0, 0)), mode="edge")
    count = plane.shape[0] // step
    out = np.zeros((count, plane.shape[1]), np.float32)
    for k, weight in enumerate(weights):
        if weight:
            start = first + k + before
            out += np.float32(weight) * padded[start : start + step * count : step]
    return out


def _keys(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Keys' cubic convolution kernel, a = -1/2."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _levels(bits: int, full_range: bool) -> tuple[float, float, float, float]:
    """Returns luma scale and zero, chroma scale and zero."""
    if full_range:
        peak = 2.0**bits - 1
        return peak, 0.0, peak, 2.0 ** (bits - 1)
    step = 2.0 ** (bits - 8)
    return 219 * step, 16 * step, 224 * step, 128 * step


def _to_uint16(values: NDArray[np.floating]) -> NDArray[np.uint16]:
    return np.rint(np.clip(values, 0, 1) * np.float32(_RGB_PEAK)).astype(np.uint16)


def _quantise(values: NDArray[np.floating], fmt: YuvFormat) -> NDArray[Any]:
    return np.rint(np.clip(values, 0, 2**fmt.bits - 1)).astype(fmt.dtype)
