"""What every expert is given and what it gives back."""

from typing import ClassVar

import flax.linen as nn
import flax.struct
from jaxtyping import Array, Float

from armoe_jax.ops.transforms import Decay


@flax.struct.dataclass
class ExpertInputs:
    """Features of a batch of images, and the decay that is common to all experts of a layer.

    Attributes:
        values: Projected features, what the spectral experts transform.
        features: The same features before the projection, what the SWT expert splits into bands.
        decay: Weights in [0, 1] per frequency and channel.
    """

    values: Float[Array, "b h w c"]
    features: Float[Array, "b h w c"]
    decay: Decay


class Expert(nn.Module):
    """Base of the experts. Images of a batch never mix.

    Attributes:
        has_parameters: Whether the expert owns parameters, stored under its name in EXPERTS.
    """

    has_parameters: ClassVar[bool] = False

    def __call__(self, inputs: ExpertInputs) -> Float[Array, "b h w c"]:
        """Returns filtered features."""
        raise TypeError(f"{type(self).__name__} must define __call__")
