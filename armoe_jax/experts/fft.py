"""Expert 1: decay of the Fourier spectrum over rows, columns and channels."""

from jaxtyping import Array, Float

from armoe_jax.experts.base import Expert, ExpertInputs
from armoe_jax.ops.frames import Frame, fourier_basis, separable_frame
from armoe_jax.ops.transforms import fft_filter


class FFT(Expert):
    """Three-dimensional FFT, decay, real part of the inverse.

    Channels are transformed too: the decay differs between channels, so this matters. The released
    code also transforms over the batch, which cancels. Source: architecture.md section 6, E1.
    """

    def __call__(self, inputs: ExpertInputs) -> Float[Array, "b h w c"]:
        """Returns filtered features."""
        return fft_filter(inputs.values, inputs.decay)


def frame(size: int) -> Frame:
    """Returns the real Fourier transform of a window, of rows and columns: one band a product."""
    return separable_frame(fourier_basis(size), [(row + 1) // 2 for row in range(size)])
