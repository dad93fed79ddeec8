"""Expert 2: pairs of elements that lie beside each other in memory."""

import jax.numpy as jnp
import numpy as np

from armoe_jax.experts import ExpertInputs
from armoe_jax.experts.haar import Haar, frame
from armoe_jax.ops.transforms import Decay


def run(values, rows, columns):
    decay = Decay(jnp.asarray(rows), jnp.asarray(columns))
    return np.asarray(Haar().apply({}, ExpertInputs(values=values, features=values, decay=decay)))


def test_one_row_of_two_pixels_and_two_channels_by_hand():
    values = jnp.asarray([1.0, 3.0, 5.0, 9.0]).reshape(1, 1, 2, 2)
    # Both steps pair neighbours: means 2, 7 and differences -1, -2 beside them, 2 -1 7 -2; then
    # again, 0.5 1.5 2.5 4.5. Weights 1 2 3 4 make 0.5 3 7.5 18; sums and differences of pairs,
    # 3.5 -2.5 25.5 -10.5; and again, 1 6 15 36.
    out = run(values, np.ones((1, 2), np.float32), np.array([[1, 2], [3, 4]], np.float32))
    np.testing.assert_allclose(out.ravel(), [1.0, 6.0, 15.0, 36.0], rtol=1e-6)


def test_without_decay_it_is_the_identity_only_where_width_equals_channels():
    for channels, same in ((2, True), (4, False)):
        values = jnp.arange(2.0 * channels).reshape(1, 1, 2, channels) ** 2
        out = run(values, np.ones((1, channels), "f4"), np.ones((2, channels), "f4"))
        assert np.allclose(out, values, atol=1e-6) == same


def test_levels_of_the_frame_are_its_shells():
    # Rows of the basis of 4: mean, halves, and two of pairs.
    assert frame(4).shells == (0, 1, 2, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2)
    window = np.arange(16.0).reshape(4, 4)
    coefficients = (frame(4).matrix @ window.ravel()).reshape(4, 4)
    assert np.isclose(coefficients[0, 0], window.sum() / 4)
    # Upper half less lower half, 28 - 92, in units of a window's norm.
    assert np.isclose(coefficients[1, 0], -64 / 4)
