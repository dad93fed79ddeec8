"""Adaptation to the coding quality: a small network that estimates it, and what it changes.

An addition to the released network. A patch hardly tells how strongly it was coded (a smooth one
may be smooth by nature), while the whole image does; and a network that must serve all qualities
without knowing which corrects each of them less. The idea of a network that estimates the quality
and adapts to it is that of FBCNN (Jiang et al. 2021), the modulation that of FiLM (Perez et al.
2018).
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from armoe_jax.models.layers import Conv
from armoe_jax.ops.color import LUMA
from armoe_jax.ops.transforms import dct_basis

BLOCK = 8
"""Side of the blocks whose DCT the estimator looks at, in pixels."""

WIDTH = 64
"""Hidden width of the estimator."""

KNOTS = 6
"""Qualities with a modulation of their own, evenly spaced; in between it is interpolated."""

LEAK = 0.1
"""Slope of the estimator's LeakyReLU below 0."""

SMALLEST = 0.25
"""Added to the magnitudes of coefficients, in gray levels: less than this is rounding noise."""


class QualityEstimator(nn.Module):
    """Estimates from an image how strongly it was coded.

    Looks at the logarithms of DCT magnitudes of the luma in its own and in half resolution: coding
    takes the small ones away. Two layers, with the mean over the image between them.

    Attributes:
        quality_range: Quality of the mildest and of the strongest coding, such as QPs 17 and 42.
    """

    quality_range: tuple[float, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, " b"]:
        """Returns the estimated qualities of images in [0, 1]; not kept within the range."""
        weights = jnp.asarray(LUMA if x.shape[-1] == 3 else (1.0,), x.dtype)
        luma = 255.0 * ((x @ weights) - 0.5)
        parts = [self._look_at(luma, "fine"), self._look_at(_halved(luma), "coarse")]
        hidden = Conv(WIDTH, size=1, name="image")(jnp.concatenate(parts, axis=-1))
        position = Conv(1, size=1, name="position")(nn.leaky_relu(hidden, LEAK)).reshape(-1)
        mild, strong = self.quality_range
        return (mild + strong) / 2 + (strong - mild) / 2 * position

    def _look_at(self, luma: Float[Array, "b h w"], name: str) -> Float[Array, "b 1 1 c"]:
        energies = jnp.log(SMALLEST + abs(block_dct(luma))) - 0.5
        blocks = nn.leaky_relu(Conv(WIDTH, size=1, name=name)(energies), LEAK)
        return blocks.mean(axis=(1, 2), keepdims=True)


class Modulation(nn.Module):
    """Scales and shifts each channel by what was learnt for a quality; nothing when untrained.

    Attributes:
        quality_range: Quality of the mildest and of the strongest coding; what lies outside counts
            as the nearer of them.
    """

    quality_range: tuple[float, ...]

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], quality: Float[Array, " b"]
    ) -> Float[Array, "b h w c"]:
        """Returns features of the same shape."""
        c = x.shape[-1]
        table = self.param("table", nn.initializers.zeros, (KNOTS, 2 * c))
        rows = knot_weights(quality, self.quality_range) @ table
        scale, shift = jnp.split(rows.reshape(-1, 1, 1, 2 * c), 2, axis=-1)
        return (x * (1.0 + scale) + shift).astype(x.dtype)


def knot_weights(
    quality: Float[Array, " b"], quality_range: tuple[float, ...]
) -> Float[Array, "b knots"]:
    """Returns each knot's share in qualities: linear between two neighbours, their sum 1."""
    mild, strong = quality_range
    position = jnp.clip((quality - mild) / (strong - mild), 0.0, 1.0) * (KNOTS - 1)
    return jnp.maximum(0.0, 1.0 - abs(position.reshape(-1, 1) - jnp.arange(KNOTS).reshape(1, -1)))


def block_dct(image: Float[Array, "b h w"]) -> Float[Array, "b rows columns frequencies"]:
    """Returns the orthonormal DCT of the whole blocks of an image; of a smaller one, padded."""
    image = _whole_blocks(image)
    b, h, w = image.shape
    blocks = image.reshape(b, h // BLOCK, BLOCK, w // BLOCK, BLOCK).swapaxes(2, 3)
    # Rows and columns at once: one product of matrices.
    basis = np.kron(dct_basis(BLOCK), dct_basis(BLOCK))
    return blocks.reshape(b, h // BLOCK, w // BLOCK, BLOCK**2) @ basis.T


def _whole_blocks(image: Float[Array, "b h w"]) -> Float[Array, "b rows columns"]:
    h, w = (length if length < BLOCK else length // BLOCK * BLOCK for length in image.shape[1:])
    return _repeat_last(image[:, :h, :w], max(BLOCK - h, 0), max(BLOCK - w, 0))


def _halved(image: Float[Array, "b h w"]) -> Float[Array, "b rows columns"]:
    """Returns means of 2x2 pixels; a last odd row or column counts twice."""
    h, w = image.shape[1:]
    even = _repeat_last(image, h % 2, w % 2)
    return even.reshape(-1, (h + 1) // 2, 2, (w + 1) // 2, 2).mean(axis=(2, 4))


def _repeat_last(
    image: Float[Array, "b h w"], rows: int, columns: int
) -> Float[Array, "b height width"]:
    """Adds rows and columns equal to the last ones; none leaves no empty part in the program."""
    for axis, count in ((1, rows), (2, columns)):
        if count:
            missing = [(0, 0)] * 3
            missing[axis] = (0, count)
            image = jnp.pad(image, missing, mode="edge")
    return image
