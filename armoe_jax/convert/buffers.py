"""The constants that the released network stores beside its weights.

They follow from the architecture alone. Reading compares and drops them, writing makes them
again. Source: architecture.md sections 5, 6.2 and 7.
"""

import functools

import numpy as np
from jaxtyping import Float, Int

from armoe_jax.ops import windows

MASK_IMAGE_SIZE = 64
"""Side of the image that stored masks belong to, whatever the image the network was made for."""

_MASKED = -100.0
_HAAR = np.float32(np.sqrt(0.5))


@functools.lru_cache(maxsize=16)
def attention_mask(window: tuple[int, int]) -> Float[np.ndarray, "windows n n"]:
    """Returns what shifted windows add to attention logits: 0 within a region, else -100."""
    labels = windows.region_labels(MASK_IMAGE_SIZE, MASK_IMAGE_SIZE, window)
    differ = labels[:, :, None] != labels[:, None, :]
    return _frozen(np.where(differ, np.float32(_MASKED), np.float32(0)))


@functools.lru_cache(maxsize=16)
def relative_offsets(window: tuple[int, int]) -> Float[np.ndarray, "offsets 2"]:
    """Returns all offsets (dh, dw) between two tokens of a window, dw fastest."""
    return _frozen(windows.relative_offsets(window))


@functools.lru_cache(maxsize=16)
def relative_index(window: tuple[int, int]) -> Int[np.ndarray, "n n"]:
    """Returns for query i and key j the row of `relative_offsets` that holds i - j."""
    h, w = window
    rows, columns = (axis.ravel() for axis in np.mgrid[:h, :w])
    dh = rows[:, None] - rows[None, :]
    dw = columns[:, None] - columns[None, :]
    return _frozen(((dh + h - 1) * (2 * w - 1) + dw + w - 1).astype(np.int64))


@functools.lru_cache(maxsize=16)
def haar_filter(*, high: bool, shape: tuple[int, ...]) -> Float[np.ndarray, "1 1 kh kw"]:
    """Returns the low or high pass filter of the stationary wavelet transform."""
    taps = np.array([_HAAR, -_HAAR if high else _HAAR], np.float32)
    return _frozen(taps.reshape(shape))


def _frozen(array: np.ndarray) -> np.ndarray:
    # Cached and shared: the writer stores an array once however many names it has.
    array.flags.writeable = False
    return array
