"""Attention windows: cutting an image into them, shifting, and what is constant about them.

A window of height `h` and width `w` holds n = h * w tokens, row by row; windows are enumerated
row by row too. Source: architecture.md section 5.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped


def padded_size(size: int, multiple: int) -> int:
    """Returns the smallest multiple of `multiple` that is at least `size`."""
    return -(-size // multiple) * multiple


def pad_bottom_right(
    x: Shaped[Array, "b h w c"], height: int, width: int
) -> Shaped[Array, "b hp wp c"]:
    """Pads with zeros below and to the right up to `height` x `width`."""
    return jnp.pad(x, ((0, 0), (0, height - x.shape[1]), (0, width - x.shape[2]), (0, 0)))


def partition(
    x: Shaped[Array, "b h w c"], window: tuple[int, int]
) -> Shaped[Array, "b windows n c"]:
    """Cuts images into windows; the sides must be multiples of the window's."""
    b, height, width, c = x.shape
    h, w = window
    x = x.reshape(b, height // h, h, width // w, w, c).swapaxes(2, 3)
    return x.reshape(b, -1, h * w, c)


def merge(
    windows: Shaped[Array, "b windows n c"], window: tuple[int, int], height: int, width: int
) -> Shaped[Array, "b h w c"]:
    """Undoes `partition`."""
    h, w = window
    b, _, _, c = windows.shape
    x = windows.reshape(b, height // h, width // w, h, w, c).swapaxes(2, 3)
    return x.reshape(b, height, width, c)


def roll(x: Shaped[Array, "b h w c"], shift: tuple[int, int]) -> Shaped[Array, "b h w c"]:
    """Moves rows up and columns left by `shift`, cyclically."""
    if shift == (0, 0):
        return x
    return jnp.roll(x, (-shift[0], -shift[1]), axis=(1, 2))


def region_labels(height: int, width: int, window: tuple[int, int]) -> Int[np.ndarray, "windows n"]:
    """Labels the tokens of a shifted image by the region that they belonged to before the shift.

    Tokens of one window attend to each other only if their labels are equal.

    Args:
        height: Rows of the padded image.
        width: Columns of the padded image.
        window: Window height and width; the shift is half of each.
    """
    h, w = window
    rows = _axis_labels(height, h)
    columns = _axis_labels(width, w)
    labels = 3 * rows[:, None] + columns[None, :]
    labels = labels.reshape(height // h, h, width // w, w).swapaxes(1, 2)
    return np.ascontiguousarray(labels.reshape(-1, h * w))


def regions(height: int, width: int, window: tuple[int, int]) -> Float[np.ndarray, "windows n 4"]:
    """Returns 1 at the region that each token of a shifted image belongs to, else 0.

    A window sees at most four of the regions of `region_labels`: along either axis it has either
    one of them or the last two.

    Args:
        height: Rows of the padded image.
        width: Columns of the padded image.
        window: Window height and width; the shift is half of each.
    """
    rows, columns = np.divmod(region_labels(height, width, window), 3)
    in_window = 2 * (rows == 2) + (columns == 2)
    return np.eye(4, dtype=np.float32)[in_window]


def _axis_labels(size: int, window: int) -> Int[np.ndarray, " size"]:
    position = np.arange(size)
    return (position >= size - window).astype(np.int32) + (position >= size - window // 2)


def relative_offsets(window: tuple[int, int]) -> Float[np.ndarray, "offsets 2"]:
    """Returns every offset between two tokens of a window: (dh, dw), dw running fastest."""
    h, w = window
    rows, columns = np.meshgrid(np.arange(1 - h, h), np.arange(1 - w, w), indexing="ij")
    return np.stack([rows.ravel(), columns.ravel()], axis=-1).astype(np.float32)


def relative_bias(
    table: Float[Array, "offsets m"], window: tuple[int, int]
) -> Float[Array, "m n n"]:
    """Spreads a table over offsets to all pairs of tokens: entry [i, j] is that of i - j.

    Both axes of a window have Toeplitz form, so this needs no gather (whose gradient would be a
    scatter).
    """
    h, w = window
    x = table.reshape(2 * h - 1, 2 * w - 1, -1)
    x = _toeplitz(x, h, axis=0)  # h h (2w-1) m
    x = _toeplitz(x, w, axis=2)  # h h w w m
    return x.transpose(4, 0, 2, 1, 3).reshape(-1, h * w, h * w)


def _toeplitz(x: Float[Array, "..."], size: int, axis: int) -> Float[Array, "..."]:
    """Replaces an axis of 2*size-1 offsets by two of `size`: [i, j] takes offset i - j."""
    # One element is put behind the reversed offsets; repeated `size` times and cut into rows of
    # 2*size-1, each row starts one element earlier than the row above.
    x = jnp.moveaxis(x, axis, -1)[..., ::-1]
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, 1)])
    lead = x.shape[:-1]
    x = jnp.broadcast_to(x[..., None, :], (*lead, size, 2 * size)).reshape(*lead, -1)
    x = x[..., : size * (2 * size - 1)].reshape(*lead, size, 2 * size - 1)[..., size - 1 :]
    return jnp.moveaxis(x, (-2, -1), (axis, axis + 1))
