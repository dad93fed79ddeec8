"""Rearrangements: every element's place, from the formulas of the specification."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armoe_jax.ops.rearrange import pixel_shuffle, reread_as_width_channel_height


def test_pixel_shuffle_by_hand():
    # One pixel, channels 0..7, factor 2: output channel c takes channels 4 c .. 4 c + 3, row by
    # row: channel 0 is 0 1 / 2 3 and channel 1 is 4 5 / 6 7.
    out = np.asarray(pixel_shuffle(jnp.arange(8).reshape(1, 1, 1, 8), 2))[0]
    np.testing.assert_array_equal(out[:, :, 0], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(out[:, :, 1], [[4, 5], [6, 7]])


@settings(max_examples=4, deadline=None)
@given(h=st.integers(1, 3), w=st.integers(1, 3), c=st.integers(1, 3), r=st.integers(1, 4))
def test_pixel_shuffle_places_every_element(h, w, c, r):
    x = np.arange(2 * h * w * c * r * r).reshape(2, h, w, c * r * r)
    out = np.asarray(pixel_shuffle(jnp.asarray(x), r))
    assert out.shape == (2, h * r, w * r, c)
    y, column, channel = np.mgrid[: h * r, : w * r, :c]
    source = channel * r * r + (y % r) * r + column % r
    np.testing.assert_array_equal(out, x[:, y // r, column // r, source])


@pytest.mark.parametrize("shape", [(1, 2, 2, 2), (2, 3, 4, 6), (1, 5, 2, 3)])
def test_reread_follows_the_flat_index(shape):
    _, h, w, c = shape
    v = np.arange(np.prod(shape)).reshape(shape)
    out = np.asarray(reread_as_width_channel_height(jnp.asarray(v)))
    # out[b, l, c] = v[b, h', w', c'], f = l C + c, w' = f // (C H), c' = (f mod C H) // H,
    # h' = f mod H.
    f = np.arange(h * w * c)
    expected = v[:, f % h, f // (c * h), f % (c * h) // h]
    np.testing.assert_array_equal(out.reshape(shape[0], -1), expected)


def test_reread_is_no_transposition():
    v = jnp.arange(8).reshape(1, 2, 2, 2)  # v[h, w, c] = 4 h + 2 w + c
    out = np.asarray(reread_as_width_channel_height(v)).ravel()
    # Order (w, c, h): w=0 c=0: 0 4; w=0 c=1: 1 5; w=1 c=0: 2 6; w=1 c=1: 3 7.
    np.testing.assert_array_equal(out, [0, 4, 1, 5, 2, 6, 3, 7])
