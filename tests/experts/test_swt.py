"""Expert 3: sub-bands of the features, fused and weighted."""

import jax
import jax.numpy as jnp
import numpy as np

from armoe_jax.experts.swt import SWT, frame
from armoe_jax.ops.transforms import weight_spectrum


def test_zeros_give_the_decayed_bias(inputs):
    variables = SWT().init(jax.random.key(0), inputs)
    nothing = inputs.replace(features=jnp.zeros_like(inputs.features))
    bias = variables["params"]["fusion"]["bias"].reshape(1, 1, 1, -1)
    bias = jnp.broadcast_to(bias, inputs.features.shape)
    got = SWT().apply(variables, nothing)
    np.testing.assert_allclose(got, weight_spectrum(bias, inputs.decay), rtol=1e-6, atol=1e-7)


def test_sub_bands_by_definition(inputs, weights_of):
    """Sums and differences of neighbours, halved, with zeros beyond the right and the bottom."""
    variables = SWT().init(jax.random.key(0), inputs)
    x = np.asarray(inputs.features, float)
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    here, right = padded[:, :-1, :-1], padded[:, :-1, 1:]
    below, across = padded[:, 1:, :-1], padded[:, 1:, 1:]
    signs = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]  # of right, below, across
    bands = [(here + r * right + b * below + a * across) / 2 for r, b, a in signs]
    fusion = jax.tree.map(lambda p: np.asarray(p, float), variables["params"]["fusion"])
    # Channel c owns bands 4 c to 4 c + 3.
    stacked = np.stack(bands, axis=-1).reshape(*x.shape[:3], -1)
    fused = stacked @ fusion["kernel"][0, 0] + fusion["bias"]
    expected = fused * weights_of(inputs.decay)
    np.testing.assert_allclose(SWT().apply(variables, inputs), expected, rtol=0, atol=1e-5)


def test_initial_weights_are_in_the_range_of_a_convolution_with_their_inputs(inputs):
    fusion = SWT().init(jax.random.key(1), inputs)["params"]["fusion"]
    channels = inputs.features.shape[-1]
    assert fusion["kernel"].shape == (1, 1, 4 * channels, channels)
    bound = (4 * channels) ** -0.5
    assert 0.9 * bound < np.abs(fusion["kernel"]).max() <= bound


def test_the_frame_has_two_levels_where_the_window_has_room():
    # Three bands a level and the last low one, each at every pixel.
    assert (frame(8).num_bands, frame(8).places, frame(8).shells) == (7, 64, tuple(range(7)))
    assert (frame(2).num_bands, frame(2).places) == (4, 4)
