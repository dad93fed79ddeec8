"""Parameterised layers: names, shapes and initial values of parameters; the work is in `ops`.

Initial values are the released network's (architecture.md section 7).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from armoe_jax.ops.convolution import conv2d, depthwise_conv3x3
from armoe_jax.ops.linear import dense
from armoe_jax.ops.normalization import layer_norm
from armoe_jax.ops.precision import wide


def linear_init(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    """Normal with standard deviation 0.02, cut at +-2 as released (a hundred deviations away)."""
    return 0.02 * jax.random.truncated_normal(key, -100.0, 100.0, shape, jnp.float32)


def fan_in_uniform(fan_in: int) -> nn.initializers.Initializer:
    """Uniform in +-1/sqrt(fan_in): PyTorch's default for convolutions, weights and biases."""
    bound = fan_in**-0.5

    def init(key: PRNGKeyArray, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Dense(nn.Module):
    """Linear layer over channels.

    Attributes:
        features: Output width.
        use_bias: Whether there is a bias.
        dtype: Precision of the operands; None for that of x, but at least float32.
    """

    features: int
    use_bias: bool = True
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*lead c"]) -> Float[Array, "*lead o"]:
        """Returns x @ kernel + bias."""
        kernel = self.param("kernel", linear_init, (x.shape[-1], self.features))
        bias = (
            self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        )
        return dense(x, kernel, bias, jnp.dtype(self.dtype) if self.dtype else wide(x.dtype))


class LayerNorm(nn.Module):
    """Layer norm over channels with eps 1e-5, in float32."""

    @nn.compact
    def __call__(self, x: Float[Array, "*lead c"]) -> Float[Array, "*lead c"]:
        """Returns normalised, scaled and shifted features."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return layer_norm(x, scale, bias)


class Conv(nn.Module):
    """Convolution with an odd square kernel and zero padding.

    Attributes:
        features: Output channels.
        size: Side of the kernel.
        zero_init: Starts with weight and bias 0 (the last layer of a network with global skip).
        dtype: Precision of the operands.
    """

    features: int
    size: int = 3
    zero_init: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        """Returns the convolved image, in the type of x."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        init = fan_in_uniform(self.size**2 * x.shape[-1])
        if self.zero_init:
            init = nn.initializers.zeros
        kernel = self.param("kernel", init, shape)
        bias = self.param("bias", init, (self.features,))
        return conv2d(x, kernel.astype(self.dtype), bias).astype(x.dtype)


class DepthwiseConv(nn.Module):
    """Depthwise 3x3 convolution with zero padding."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the convolved image."""
        init = fan_in_uniform(9)
        kernel = self.param("kernel", init, (3, 3, 1, x.shape[-1]))
        bias = self.param("bias", init, (x.shape[-1],))
        return depthwise_conv3x3(x, kernel, bias)


class ResidualConv(nn.Module):
    """The convolutions that close a group: one 3x3, or 3x3, 1x1, 3x3 through a quarter width.

    Attributes:
        form: "1conv" or "3conv".
        dtype: Precision of the operands.
    """

    form: str
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns features of the same shape."""
        c = x.shape[-1]
        if self.form == "1conv":
            # The parameters lie directly under this module's name, as they do in the released one.
            init = fan_in_uniform(9 * c)
            kernel = self.param("kernel", init, (3, 3, c, c))
            bias = self.param("bias", init, (c,))
            return conv2d(x, kernel.astype(self.dtype), bias).astype(x.dtype)
        x = nn.leaky_relu(Conv(c // 4, dtype=self.dtype, name="conv0")(x), 0.2)
        x = nn.leaky_relu(Conv(c // 4, size=1, dtype=self.dtype, name="conv1")(x), 0.2)
        return Conv(c, dtype=self.dtype, name="conv2")(x)
