"""Fixed rearrangements of an image's elements."""

from jaxtyping import Array, Shaped


def pixel_shuffle(
    x: Shaped[Array, "b h w channels"], factor: int
) -> Shaped[Array, "b height width c"]:
    """Moves groups of factor^2 channels to space: out[h*r+i, w*r+j, c] = in[h, w, c*r*r + i*r + j].

    The channel order is PyTorch's, which released checkpoints depend on.
    """
    b, h, w, channels = x.shape
    c = channels // factor**2
    x = x.reshape(b, h, w, c, factor, factor).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(b, h * factor, w * factor, c)


def pixel_unshuffle(
    x: Shaped[Array, "b height width c"], factor: int
) -> Shaped[Array, "b h w channels"]:
    """Moves squares of pixels to channels: the inverse of `pixel_shuffle`."""
    b, height, width, c = x.shape
    x = x.reshape(b, height // factor, factor, width // factor, factor, c)
    x = x.transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(b, height // factor, width // factor, c * factor**2)


def reread_as_width_channel_height(x: Shaped[Array, "b h w c"]) -> Shaped[Array, "b h w c"]:
    """Stores the image in the axis order (w, c, h) and reads the same memory back as (h, w, c).

    Not a transposition: elements land at positions that depend on h, w and c. The released network
    ends its mixture with it, and its weights were trained that way. Source: architecture.md
    section 6, "final scramble".
    """
    return x.transpose(0, 2, 3, 1).reshape(x.shape)
