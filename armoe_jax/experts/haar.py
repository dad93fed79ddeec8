"""Expert 2: decay between two Haar steps on consecutive elements in memory."""

from jaxtyping import Array, Float

from armoe_jax.experts.base import Expert, ExpertInputs
from armoe_jax.ops.frames import Frame, haar_basis, separable_frame
from armoe_jax.ops.transforms import haar_backward, haar_forward, weight_spectrum


class Haar(Expert):
    """Haar pairing, decay, and the pairing reversed in the same order: the identity only if W == C.

    Width and channels must be even. Source: architecture.md section 6.1.
    """

    def __call__(self, inputs: ExpertInputs) -> Float[Array, "b h w c"]:
        """Returns filtered features."""
        return haar_backward(weight_spectrum(haar_forward(inputs.values), inputs.decay))


def frame(size: int) -> Frame:
    """Returns the Haar wavelet transform of a window with all levels: one band a coefficient."""
    return separable_frame(haar_basis(size), [row.bit_length() for row in range(size)])
