"""Expert 0: decay of the discrete cosine spectrum."""

from jaxtyping import Array, Float

from armoe_jax.experts.base import Expert, ExpertInputs
from armoe_jax.ops.transforms import dct2, idct2, weight_spectrum


class DCT(Expert):
    """Two-dimensional DCT-II per channel, decay, inverse. Source: architecture.md section 6, E0."""

    def __call__(self, inputs: ExpertInputs) -> Float[Array, "b h w c"]:
        """Returns filtered features."""
        return idct2(weight_spectrum(dct2(inputs.values), inputs.decay))
