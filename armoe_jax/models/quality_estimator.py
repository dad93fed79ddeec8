"""Small networks that estimate from pixels how strongly an image was coded.

An addition to the released network: a patch hardly tells how strongly it was coded (a smooth one
may be smooth by nature), while the whole image does. The idea of a network that estimates the
quality and adapts to it is that of FBCNN (Jiang et al. 2021).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from armoe_jax.models.layers import Conv
from armoe_jax.ops.color import to_planes
from armoe_jax.ops.luma import LUMA
from armoe_jax.ops.transforms import dct_basis

BLOCK = 8
"""Side of the blocks whose DCT the estimators look at, in pixels."""

WIDTH = 64
"""Hidden width of the estimators."""

PLACE = 2 * BLOCK
"""Side of what they look at together: a block of the image in half its resolution, in pixels."""

LEVELS = 255.0
"""Steps of an 8-bit image."""

BLOCK_WIDTH, VOTES = 48, 32
"""Of the attentive estimator: features of each of a place's blocks, and its attention maps."""

LEAK = 0.1
"""Slope of the estimators' LeakyReLU below 0."""

SMALLEST = 0.25
"""Added to the magnitudes of coefficients, in gray levels: less than this is rounding noise."""


class MeanEstimator(nn.Module):
    """Looks at the luma in its own and in half resolution, and takes means over the image.

    Sees the logarithms of DCT magnitudes: coding takes the small ones away. Two layers, with the
    mean over the image between them.

    Attributes:
        quality_range: Quality of the mildest and of the strongest coding, such as QPs 17 and 42.
    """

    quality_range: tuple[float, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, " b"]:
        """Returns the estimated qualities of images in [0, 1]; not kept within the range."""
        weights = jnp.asarray(LUMA if x.shape[-1] == 3 else (1.0,), x.dtype)
        luma = LEVELS * ((_in_8_bits(x) @ weights) - 0.5)
        parts = [self._look_at(luma, "fine"), self._look_at(_halved(luma), "coarse")]
        return _quality_of(jnp.concatenate(parts, axis=-1), self.quality_range)

    def _look_at(self, luma: Float[Array, "b h w"], name: str) -> Float[Array, "b 1 1 c"]:
        blocks = nn.leaky_relu(Conv(WIDTH, size=1, name=name)(_energies(luma)), LEAK)
        return blocks.mean(axis=(1, 2), keepdims=True)


class AttentiveEstimator(nn.Module):
    """Looks at luma and chroma together, place by place, and learns which places to ask.

    A place has 16x16 pixels: four blocks of luma, and one each of luma and both chroma planes in
    half resolution. What is found there is averaged over the image, and by attention: a smooth
    place says little, whatever its coding.

    Attributes:
        quality_range: Quality of the mildest and of the strongest coding, such as QPs 17 and 42.
    """

    quality_range: tuple[float, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, " b"]:
        """Returns the estimated qualities of images in [0, 1]; not kept within the range."""
        planes = _whole_blocks(_planes(_in_8_bits(x)), PLACE)
        luma, half = planes[..., 0], _halved(planes)
        fine = self._look_at(luma, "fine")
        b, rows, columns, width = fine.shape
        fine = fine.reshape(b, rows // 2, 2, columns // 2, 2, width).mean(axis=(2, 4))
        names = ("coarse", "cb", "cr")
        parts = [fine, *(self._look_at(half[..., i], name) for i, name in enumerate(names))]
        places = nn.leaky_relu(Conv(WIDTH, size=1, name="join")(jnp.concatenate(parts, -1)), LEAK)
        places = nn.leaky_relu(Conv(WIDTH, size=1, name="place")(places), LEAK)
        votes = Conv(VOTES, size=1, name="votes")(places)
        shares = jax.nn.softmax(votes.reshape(b, -1, VOTES), axis=1)
        places = places.reshape(b, -1, WIDTH)
        asked = (shares * places[..., :VOTES]).sum(axis=1)
        found = jnp.concatenate([places.mean(axis=1), asked], axis=-1)
        return _quality_of(found.reshape(b, 1, 1, -1), self.quality_range)

    def _look_at(self, plane: Float[Array, "b h w"], name: str) -> Float[Array, "b rows columns c"]:
        return nn.leaky_relu(Conv(BLOCK_WIDTH, size=1, name=name)(_energies(plane)), LEAK)


ESTIMATORS = {"mean": MeanEstimator, "attention": AttentiveEstimator}
"""Estimators by the name that a configuration gives them."""


def prefer_whole(
    own: Float[Array, " b"], whole: Float[Array, " b"] | Float[np.ndarray, " b"] | None
) -> Float[Array, " b"]:
    """Returns what is known of the images that others are parts of, where that is not NaN.

    Args:
        own: Estimates of the parts.
        whole: Estimates of the whole images; None: none is known.
    """
    return own if whole is None else jnp.where(jnp.isnan(whole), own, whole)


def _quality_of(
    features: Float[Array, "b 1 1 c"], quality_range: tuple[float, ...]
) -> Float[Array, " b"]:
    """Reads the quality off an image's features, by two layers of the calling module."""
    hidden = nn.leaky_relu(Conv(WIDTH, size=1, name="image")(features), LEAK)
    position = Conv(1, size=1, name="position")(hidden).reshape(-1)
    mild, strong = quality_range
    return (mild + strong) / 2 + (strong - mild) / 2 * position


def block_dct(image: Float[Array, "b h w"]) -> Float[Array, "b rows columns frequencies"]:
    """Returns the orthonormal DCT of the whole blocks of an image; of a smaller one, padded."""
    image = _whole_blocks(image, BLOCK)
    b, h, w = image.shape
    blocks = image.reshape(b, h // BLOCK, BLOCK, w // BLOCK, BLOCK).swapaxes(2, 3)
    # Rows and columns at once: one product of matrices.
    basis = np.kron(dct_basis(BLOCK), dct_basis(BLOCK))
    return blocks.reshape(b, h // BLOCK, w // BLOCK, BLOCK**2) @ basis.T


def _energies(plane: Float[Array, "b h w"]) -> Float[Array, "b rows columns frequencies"]:
    return jnp.log(SMALLEST + abs(block_dct(plane))) - 0.5


def _in_8_bits(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Rounds: the estimators know such images; what a file tells beyond them misleads them."""
    return jnp.round(jnp.clip(x, 0.0, 1.0) * LEVELS) / LEVELS


def _planes(x: Float[Array, "b h w c"]) -> Float[Array, "b h w 3"]:
    """Returns luma and chroma around 0 in gray levels; a gray image's chroma is 0."""
    planes = LEVELS * to_planes(x)
    return jnp.pad(planes, ((0, 0), (0, 0), (0, 0), (0, 3 - x.shape[-1])))


def _whole_blocks(image: Float[Array, "b h w *c"], side: int) -> Float[Array, "b rows columns *c"]:
    h, w = (length if length < side else length // side * side for length in image.shape[1:3])
    return _repeat_last(image[:, :h, :w], max(side - h, 0), max(side - w, 0))


def _halved(image: Float[Array, "b h w *c"]) -> Float[Array, "b rows columns *c"]:
    """Returns means of 2x2 pixels; a last odd row or column counts twice."""
    h, w = image.shape[1:3]
    even = _repeat_last(image, h % 2, w % 2)
    return even.reshape(-1, (h + 1) // 2, 2, (w + 1) // 2, 2, *image.shape[3:]).mean(axis=(2, 4))


def _repeat_last(
    image: Float[Array, "b h w *c"], rows: int, columns: int
) -> Float[Array, "b height width *c"]:
    """Adds rows and columns equal to the last ones; none leaves no empty part in the program."""
    for axis, count in ((1, rows), (2, columns)):
        if count:
            missing = [(0, 0)] * image.ndim
            missing[axis] = (0, count)
            image = jnp.pad(image, missing, mode="edge")
    return image
