"""Expert 3: fused sub-bands of a stationary wavelet transform, weighted by the decay."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from armoe_jax.experts.base import Expert, ExpertInputs
from armoe_jax.ops.frames import Frame, stationary_haar_frame
from armoe_jax.ops.transforms import swt_fusion, weight_spectrum


class SWT(Expert):
    """Stationary Haar sub-bands of the unprojected features, 1x1 fusion, decay; no inverse.

    The decay multiplies pixel positions as if they were frequencies, as released. Source:
    architecture.md section 6.2.
    """

    has_parameters: ClassVar[bool] = True

    @nn.compact
    def __call__(self, inputs: ExpertInputs) -> Float[Array, "b h w c"]:
        """Returns filtered features."""
        fused = _Fusion(name="fusion")(inputs.features)
        return weight_spectrum(fused, inputs.decay)


class _Fusion(nn.Module):
    """The filter bank and its 1x1 convolution 4C -> C, with PyTorch's initial range."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        channels = x.shape[-1]
        bound = (4 * channels) ** -0.5

        def uniform(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
            return jax.random.uniform(key, shape, jnp.float32, -bound, bound)

        kernel = self.param("kernel", uniform, (1, 1, 4 * channels, channels))
        bias = self.param("bias", uniform, (channels,))
        return swt_fusion(x, kernel, bias)


def frame(size: int) -> Frame:
    """Returns the stationary Haar transform of a window with up to two levels."""
    return stationary_haar_frame(size, levels=min(2, size.bit_length() - 1))
