import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.ops.color import from_planes, to_planes


def test_known_colours():
    """Full-range BT.601, as JFIF defines it."""
    colours = jnp.array([[1.0, 0, 0], [0, 0, 1], [1, 1, 1], [0.5, 0.5, 0.5]]).reshape(1, 1, 4, 3)
    expected = [
        [0.299 - 0.5, -0.299 / 1.772, 0.5],
        [0.114 - 0.5, 0.5, -0.114 / 1.402],
        [0.5, 0, 0],
        [0, 0, 0],
    ]
    np.testing.assert_allclose(to_planes(colours)[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_differences_come_back(channels):
    x, y = np.random.default_rng(0).random((2, 2, 4, 5, channels), np.float32)
    difference = to_planes(jnp.asarray(y)) - to_planes(jnp.asarray(x))
    np.testing.assert_allclose(x + from_planes(difference), y, atol=2e-6)


def test_chroma_leaves_the_luma():
    chroma = np.random.default_rng(0).normal(size=(1, 3, 3, 3)).astype(np.float32)
    chroma[..., 0] = 0
    luma = to_planes(from_planes(jnp.asarray(chroma)))[..., 0] + 0.5
    np.testing.assert_allclose(luma, 0, atol=1e-6)
