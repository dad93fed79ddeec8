"""Transforms against SciPy, NumPy and the specification's literal form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from armoe_jax.ops import transforms

SHAPES = [(2, 6, 4, 6), (3, 1, 8, 2)]


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def decay_map(k, height, width):
    y = (np.pi * np.arange(height) / height)[:, None, None] ** 2
    x = (np.pi * np.arange(width) / width)[None, :, None] ** 2
    return np.exp(-(y + x) * np.asarray(k, np.float64))


@pytest.mark.parametrize("shape", SHAPES)
def test_dct_is_the_orthonormal_type_two(shape):
    x = draw(shape)
    spectrum = transforms.dct2(jnp.asarray(x))
    expected = scipy.fft.dctn(x, axes=(1, 2), norm="ortho")
    np.testing.assert_allclose(spectrum, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(transforms.idct2(spectrum), x, rtol=0, atol=1e-5)


def test_dct_basis_by_hand():
    # N = 2: row 0 is sqrt(1/2); row 1 is cos(pi/4), cos(3 pi/4) = +-sqrt(1/2), times sqrt(2/2).
    half = np.sqrt(0.5)
    np.testing.assert_allclose(transforms.dct_basis(2), [[half, half], [half, -half]], rtol=1e-7)


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 64))
def test_dct_basis_is_orthonormal(size):
    basis = transforms.dct_basis(size)
    np.testing.assert_allclose(basis @ basis.T, np.eye(size), rtol=0, atol=1e-5)


def test_heat_decay_by_hand():
    # H = W = 2: frequencies 0 and pi / 2. At (1, 1): exp(-k * 2 * (pi/2)^2) = exp(-k pi^2 / 2).
    decay = transforms.heat_decay(jnp.asarray([0.0, 1.0]), 2, 2)
    whole = np.asarray(transforms.weight_spectrum(jnp.ones((1, 2, 2, 2)), decay))[0]
    np.testing.assert_array_equal(whole[:, :, 0], np.ones((2, 2)))
    quarter, half = np.exp(-(np.pi**2) / 4), np.exp(-(np.pi**2) / 2)
    np.testing.assert_allclose(whole[:, :, 1], [[1, quarter], [quarter, half]], rtol=1e-6)


@settings(max_examples=4, deadline=None)
@given(k=st.lists(st.floats(0, 4, width=32), min_size=1, max_size=3), h=st.integers(1, 5))
def test_decay_is_one_at_frequency_zero_and_falls(k, h):
    decay = transforms.heat_decay(jnp.asarray(k, jnp.float32), h, 4)
    rows, columns = np.asarray(decay.rows), np.asarray(decay.columns)
    np.testing.assert_array_equal(rows[0], np.ones(len(k)))
    assert (np.diff(columns, axis=0) <= 0).all()
    expected = decay_map(k, h, 4)
    np.testing.assert_allclose(rows[:, None] * columns[None], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_fft_filter_equals_the_literal_four_axes(shape):
    x = draw(shape)
    k = np.linspace(0, 1.5, shape[3]).astype(np.float32)
    a = decay_map(k, shape[1], shape[2])
    # The released code transforms over the batch as well, which must cancel.
    expected = np.fft.ifftn(np.fft.fftn(x.astype(np.float64)) * a[None]).real
    decay = transforms.heat_decay(jnp.asarray(k), shape[1], shape[2])
    actual = jax.jit(transforms.fft_filter)(jnp.asarray(x), decay)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=3e-6)


def literal_fft_filter(x, rows, columns):
    a = (rows[:, None] * columns[None])[None]
    return jnp.fft.ifftn(jnp.fft.fftn(x, axes=(1, 2, 3)) * a, axes=(1, 2, 3)).real


def literal_weighting(x, rows, columns):
    return x * rows[None, :, None] * columns[None, None]


@pytest.mark.parametrize(
    ("function", "literal", "phase"),
    [
        (transforms.fft_filter, literal_fft_filter, 1),
        (transforms.weight_spectrum, literal_weighting, 1),
        (transforms.weight_spectrum, literal_weighting, 1j),
    ],
    ids=["fft_filter", "weight_spectrum", "weight_spectrum-complex"],
)
def test_gradients_equal_those_of_the_literal_form(function, literal, phase):
    rng = np.random.default_rng(0)
    # In float64, where a wrong formula cannot hide behind rounding.
    with jax.enable_x64(True):
        x, cotangent = (jnp.asarray(rng.normal(size=(2, 3, 4, 6))) for _ in range(2))
        x, cotangent = x + (phase - 1) * x[::-1], cotangent * (1 if phase == 1 else 1 - 2j)
        rows, columns = (jnp.asarray(rng.uniform(size=(n, 6))) for n in (3, 4))
        ours = jax.jit(lambda x, rows, columns: function(x, transforms.Decay(rows, columns)))
        out, pull = jax.vjp(ours, x, rows, columns)
        expected, literal_pull = jax.vjp(jax.jit(literal), x, rows, columns)
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-12)
        for actual, wanted in zip(pull(cotangent), literal_pull(cotangent), strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-11)


def test_fft_filter_needs_the_channel_axis():
    x = draw((1, 4, 4, 4))
    k = np.asarray([0.0, 0.5, 1.0, 1.5], np.float32)
    a = decay_map(k, 4, 4)
    two_axes = np.fft.ifft2(np.fft.fft2(x, axes=(1, 2)) * a[None], axes=(1, 2)).real
    actual = transforms.fft_filter(jnp.asarray(x), transforms.heat_decay(jnp.asarray(k), 4, 4))
    assert np.abs(actual - two_axes).max() > 0.1


def pair_analysis(x, group):
    groups = x.reshape(-1, group)
    sums = (groups[:, 0::2] + groups[:, 1::2]) / 2
    differences = (groups[:, 0::2] - groups[:, 1::2]) / 2
    return np.concatenate([sums, differences], axis=1).reshape(x.shape)


def pair_synthesis(x, group):
    groups = x.reshape(-1, group)
    low, high = groups[:, : group // 2], groups[:, group // 2 :]
    out = np.empty_like(groups)
    out[:, 0::2], out[:, 1::2] = low + high, low - high
    return out.reshape(x.shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_haar_pairs_consecutive_elements_in_memory(shape):
    x = draw(shape)
    _, _, w, c = shape
    forward = transforms.haar_forward(jnp.asarray(x))
    np.testing.assert_allclose(forward, pair_analysis(pair_analysis(x, w), c), atol=1e-6)
    backward = transforms.haar_backward(jnp.asarray(x))
    np.testing.assert_allclose(backward, pair_synthesis(pair_synthesis(x, w), c), atol=1e-6)


def test_haar_returns_the_input_only_where_width_equals_channels():
    for width, returned in ((6, True), (4, False)):
        x = jnp.asarray(draw((1, 3, width, 6)))
        error = np.abs(transforms.haar_backward(transforms.haar_forward(x)) - x).max()
        assert (error < 1e-5) == returned


def subbands(x):
    """The literal filter bank: zeros beyond the right and the bottom, interleaved by channel."""
    a = np.sqrt(0.5)
    right = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 0)))[:, :, 1:]
    bands = []
    for along_w in (a * (x + right), a * (x - right)):
        below = np.pad(along_w, ((0, 0), (0, 1), (0, 0), (0, 0)))[:, 1:]
        bands += [a * (along_w + below), a * (along_w - below)]
    return np.stack(bands, axis=-1).reshape(*x.shape[:3], -1)


def test_swt_bands_come_in_the_released_order():
    x = draw((2, 3, 4, 2))
    identity = jnp.eye(8).reshape(1, 1, 8, 8)
    bands = transforms.swt_fusion(jnp.asarray(x), identity, jnp.zeros(8))
    np.testing.assert_allclose(bands, subbands(x), rtol=0, atol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize("size", ["12x8", "7x6"])
class TestReleasedTransforms:
    def test_dct(self, components, tolerance, size):
        out = transforms.dct2(jnp.asarray(components[f"moe_{size}/x_half"]))
        name = f"moe_{size}/dct_spec"
        np.testing.assert_allclose(out, components[name], rtol=0, atol=tolerance(name))

    @pytest.mark.parametrize("axis", [0, 1])
    def test_dct_basis(self, components, size, axis):
        golden = components[f"moe_{size}/cos_map_{'HW'[axis]}"]
        basis = transforms.dct_basis(int(size.split("x")[axis]))
        np.testing.assert_allclose(basis, golden, rtol=0, atol=1e-5)

    def test_haar(self, components, tolerance, size):
        out = transforms.haar_forward(jnp.asarray(components[f"moe_{size}/x_half"]))
        name = f"moe_{size}/haar_spec"
        np.testing.assert_allclose(out, components[name], rtol=0, atol=tolerance(name))

    def test_swt(self, components, tolerance, size):
        x = components[f"moe_{size}/dwconv_out"].transpose(0, 2, 3, 1)
        kernel = components["sd/moe.swt.fusion.weight"].transpose(2, 3, 1, 0)
        out = transforms.swt_fusion(
            jnp.asarray(x), jnp.asarray(kernel), jnp.asarray(components["sd/moe.swt.fusion.bias"])
        )
        name = f"moe_{size}/swt_fused"
        golden = components[name].transpose(0, 2, 3, 1)
        np.testing.assert_allclose(out, golden, rtol=0, atol=tolerance(name))

    def test_swt_bands(self, components, size):
        golden = components[f"moe_{size}/swt_subbands"].transpose(0, 2, 3, 1)
        x = components[f"moe_{size}/dwconv_out"].transpose(0, 2, 3, 1)
        np.testing.assert_allclose(subbands(x), golden, rtol=0, atol=1e-5)

    def test_decay(self, components, tolerance, size):
        k = jnp.asarray(components[f"moe_{size}/k"])
        height, width = (int(n) for n in size.split("x"))
        decay = transforms.heat_decay(k, height, width)
        whole = decay.rows[:, None] * decay.columns[None]
        name = f"moe_{size}/decay_pow"
        np.testing.assert_allclose(whole, components[name], rtol=0, atol=tolerance(name))
