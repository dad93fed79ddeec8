"""Convolutions against sums by hand and against XLA's own."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.ops import convolution
from armoe_jax.ops.convolution import conv2d, depthwise_conv3x3


def lax_conv(x, kernel, bias, groups=1):
    y = jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
        precision="highest",
    )
    return y + bias.reshape(1, 1, 1, -1)


def draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)


def assert_same_gradients(function, reference, arguments, cotangent):
    out, pull = jax.vjp(jax.jit(function), *arguments)
    expected, expected_pull = jax.vjp(jax.jit(reference), *arguments)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    for actual, wanted in zip(pull(cotangent), expected_pull(cotangent), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_conv2d_by_hand():
    x = jnp.asarray([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    kernel = jnp.arange(1.0, 10.0).reshape(3, 3, 1, 1)
    out = np.asarray(conv2d(x, kernel, jnp.asarray([0.5])))[0, :, :, 0]
    # Cross-correlation, zeros outside. At (0, 0): 5*1 + 6*2 + 8*3 + 9*4 = 77.
    # (0, 1): 4*1 + 5*2 + 7*3 + 8*4 = 67. (1, 0): 2*1 + 3*2 + 5*3 + 6*4 = 47.
    # (1, 1): 1*1 + 2*2 + 4*3 + 5*4 = 37. The bias adds 0.5.
    np.testing.assert_array_equal(out, [[77.5, 67.5], [47.5, 37.5]])


@pytest.mark.parametrize(
    ("shape", "size", "features"),
    [((2, 5, 6, 3), 3, 4), ((1, 1, 1, 2), 3, 3), ((1, 4, 3, 4), 1, 2), ((3, 1, 7, 2), 3, 2)],
)
def test_conv2d_and_its_gradients_equal_plain_convolution(shape, size, features):
    kernel_shape = (size, size, shape[3], features)
    *arguments, cotangent = draw(shape, kernel_shape, (features,), (*shape[:3], features))
    assert_same_gradients(conv2d, lax_conv, arguments, cotangent)


def test_conv2d_computes_in_the_kernels_precision():
    x, kernel, bias = draw((1, 6, 6, 4), (3, 3, 4, 4), (4,))
    narrow = conv2d(x, kernel.astype(jnp.bfloat16), bias)
    assert narrow.dtype == jnp.bfloat16
    # Operands are rounded to 8 bits, sums of 36 products: errors stay near 2^-8 of their size.
    np.testing.assert_allclose(
        narrow.astype(jnp.float32), lax_conv(x, kernel, bias), rtol=0, atol=0.15
    )
    gradient = jax.grad(lambda k: conv2d(x, k.astype(jnp.bfloat16), bias).sum())(kernel)
    assert gradient.dtype == jnp.float32
    assert np.isfinite(gradient).all()


def test_depthwise_keeps_channels_apart():
    # Channel 0 shifts right (its only tap is the left neighbour), channel 1 doubles.
    kernel = np.zeros((3, 3, 1, 2), np.float32)
    kernel[1, 0, 0, 0] = 1
    kernel[1, 1, 0, 1] = 2
    x = jnp.stack([jnp.asarray([[1.0, 2, 3]]), jnp.asarray([[4.0, 5, 6]])], axis=-1)[None]
    out = np.asarray(depthwise_conv3x3(x, jnp.asarray(kernel), jnp.zeros(2)))
    np.testing.assert_allclose(out[0, 0, :, 0], [0, 1, 2])
    np.testing.assert_allclose(out[0, 0, :, 1], [8, 10, 12])


@pytest.mark.parametrize("shape", [(2, 5, 6, 3), (1, 1, 2, 4)])
def test_depthwise_and_its_gradients_equal_grouped_convolution(shape):
    c = shape[3]
    *arguments, cotangent = draw(shape, (3, 3, 1, c), (c,), shape)
    assert_same_gradients(
        depthwise_conv3x3,
        lambda x, kernel, bias: lax_conv(x, kernel, bias, groups=c),
        arguments,
        cotangent,
    )


@pytest.mark.parametrize(("channels", "features"), [(5, 2), (2, 5), (3, 3)])
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (3, 5)])
def test_gradients_are_the_same_on_all_platforms(size, channels, features):
    x, dy, kernel = draw((2, 5, 6, channels), (2, 5, 6, features), (*size, channels, features))
    expected = convolution._gradients(x, kernel, dy)
    for actual, wanted in zip(convolution._cpu_gradients(x, kernel, dy), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-4)


def test_on_cpu_every_convolution_has_the_layout_that_is_fast_in_loops():
    """XLA brings no other layout into it there, and runs it some 50 times slower."""
    x, dy, kernel = draw((2, 5, 6, 3), (2, 5, 6, 4), (3, 3, 3, 4))
    program = jax.jit(convolution._cpu_gradients).lower(x, kernel, dy).as_text("hlo")
    layouts = re.findall(r"convolution\(.*dim_labels=(\S+?)[,\s]", program)
    assert layouts == ["b01f_01io->b01f"] * 2
    assert "rhs_reversal" not in program


@pytest.mark.parametrize("shape", [(2, 5, 6, 3), (1, 1, 2, 4), (3, 4, 1, 1)])
def test_depthwise_kernel_gradients_are_the_same_on_all_platforms(shape):
    x, dy = draw(shape, shape)
    want = convolution._tap_by_tap(x, dy)
    np.testing.assert_allclose(convolution._row_by_row(x, dy), want, rtol=1e-5, atol=1e-5)
