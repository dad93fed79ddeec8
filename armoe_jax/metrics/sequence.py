"""PSNR of YUV sequences, by the conventions of video coding.

Three figures are in use for Y, U and V together: 6:1:1 weights PSNR values; VTM's YUV-PSNR weights
mean squared errors by sample counts; per-plane values stand alone.

Source: JVET common test conditions; VTM's `calculateCombinedValues`; 6:1:1 from Ohm et al., IEEE
TCSVT 22(12), 2012, equation 4.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from armoe_jax.metrics.image import decibels

Frame = Sequence[np.ndarray]
"""The Y, U and V planes of one frame, each (h, w) of unsigned integers."""


@dataclasses.dataclass(frozen=True)
class SequencePSNR:
    """PSNR of a sequence, in dB.

    Attributes:
        frames: (Y, U, V) of each frame.
        y: Mean over frames of the frames' Y values, as VTM prints it; likewise `u` and `v`.
        u: See `y`.
        v: See `y`.
        weighted_611: (6 y + u + v) / 8.
        yuv: VTM's YUV-PSNR: from the planes' squared errors, averaged over frames and weighted by
            their numbers of samples.
    """

    frames: tuple[tuple[float, float, float], ...]
    y: float
    u: float
    v: float
    weighted_611: float
    yuv: float


def peak(bits: int) -> int:
    """Returns VTM's peak value, 255 << (bits - 8).

    Raises:
        ValueError: If `bits` is not 8 to 16.
    """
    if not 8 <= bits <= 16:
        raise ValueError(f"bit depth is {bits}, expected 8 to 16")
    return 255 << (bits - 8)


def plane_mse(plane: np.ndarray, reference: np.ndarray) -> float:
    """Returns the mean squared error of two planes of unsigned integers.

    Raises:
        ValueError: If shapes differ or a plane is empty.
        TypeError: If a plane does not hold unsigned integers.
    """
    for role, array in (("plane", plane), ("reference", reference)):
        if array.dtype.kind != "u":
            raise TypeError(f"{role} is {array.dtype}, expected unsigned integers")
    if plane.shape != reference.shape or plane.size == 0:
        raise ValueError(
            f"planes have shapes {plane.shape} and {reference.shape}; "
            "both must be equal and not empty"
        )
    return float(np.mean((plane.astype(np.float64) - reference) ** 2))


def plane_psnr(plane: np.ndarray, reference: np.ndarray, *, bits: int) -> float:
    """Returns the PSNR of two planes in dB, with VTM's peak for the bit depth; see `plane_mse`."""
    return decibels(plane_mse(plane, reference), peak(bits))


def weighted_psnr_611(y: float | int, u: float | int, v: float | int) -> float:
    """Returns (6 y + u + v) / 8 of three PSNR values, in dB."""
    return (6 * y + u + v) / 8


def yuv_psnr(mse: Sequence[float | int], samples: Sequence[int], *, bits: int) -> float:
    """Returns VTM's YUV-PSNR in dB: the planes' errors weighted by their numbers of samples.

    Args:
        mse: Mean squared errors of Y, U, V.
        samples: Numbers of samples of Y, U, V; 4:1:1 in proportion for 4:2:0.
        bits: Bit depth, the same of all planes.
    """
    return decibels(float(np.average(mse, weights=samples)), peak(bits))


def sequence_psnr(
    frames: Iterable[Frame], reference: Iterable[Frame], *, bits: int
) -> SequencePSNR:
    """Measures a sequence frame by frame; holds one pair of frames at a time.

    Args:
        frames: Decoded or restored frames: Y, U, V planes of unsigned integers.
        reference: The originals, of the same shapes and number.
        bits: Bit depth of the samples.

    Raises:
        ValueError: If there are no frames, their numbers differ, a frame has not three planes, or
            shapes differ.
    """
    errors: list[list[float]] = []
    samples: list[int] = []
    try:
        for frame, original in zip(frames, reference, strict=True):
            if len(frame) != 3 or len(original) != 3:
                raise ValueError(f"frame {len(errors)} has {len(frame)} planes, expected Y, U, V")
            errors.append([plane_mse(a, b) for a, b in zip(frame, original, strict=True)])
            samples = [plane.size for plane in frame]
    except ValueError as error:
        if "zip()" in str(error):
            raise ValueError(
                f"the sequences differ in length: one ends after {len(errors)} frames"
            ) from error
        raise
    if not errors:
        raise ValueError("the sequences hold no frames")

    values = [tuple(decibels(mse, peak(bits)) for mse in frame) for frame in errors]
    y, u, v = (math.fsum(column) / len(values) for column in zip(*values, strict=True))
    return SequencePSNR(
        frames=tuple((frame[0], frame[1], frame[2]) for frame in values),
        y=y,
        u=u,
        v=v,
        weighted_611=weighted_psnr_611(y, u, v),
        yuv=yuv_psnr(np.mean(errors, axis=0).tolist(), samples, bits=bits),
    )
