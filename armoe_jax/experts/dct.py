"""Expert 0: decay of the discrete cosine spectrum."""

import numpy as np
from jaxtyping import Array, Float

from armoe_jax.experts.base import Expert, ExpertInputs
from armoe_jax.ops.frames import Frame, separable_frame
from armoe_jax.ops.transforms import dct2, dct_basis, idct2, weight_spectrum


class DCT(Expert):
    """Two-dimensional DCT-II per channel, decay, inverse. Source: architecture.md section 6, E0."""

    def __call__(self, inputs: ExpertInputs) -> Float[Array, "b h w c"]:
        """Returns filtered features."""
        return idct2(weight_spectrum(dct2(inputs.values), inputs.decay))


def frame(size: int) -> Frame:
    """Returns the two-dimensional DCT-II of a window: one band a frequency."""
    return separable_frame(dct_basis(size, np.float64))
