"""Routing: which expert serves which image. Decides only; `dispatch` moves the data.

Axis letters as in `armoe_jax.typing`. Source: architecture.md sections 6.3 and 12.
"""

import math

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from armoe_jax.models.layers import Dense
from armoe_jax.ops.normalization import batch_norm
from armoe_jax.ops.precision import wide

HIDDEN = (256, 32)
"""Widths of the gate's hidden layers."""

LEAK = 0.1
"""Slope of the gate's LeakyReLU below 0."""

MOMENTUM = 0.1
"""Weight of the newest batch in the running statistics."""


def count_choices(
    expert: Int[Array, "l b"] | Int[np.ndarray, "l b"], num_experts: int
) -> Int[Array, "l e"] | Int[np.ndarray, "l e"]:
    """Returns how many images each expert of each layer was chosen for, NumPy or JAX as given."""
    return (expert[..., None] == np.arange(num_experts)[None, None, :]).sum(axis=1)


@flax.struct.dataclass
class Routing:
    """What the gates of a forward pass decided.

    Constants, such as "none dropped", come out of a recomputed function as NumPy arrays.

    Attributes:
        expert: Chosen expert of every layer and image, "l b", or of every window of it, "l b n".
        logits: The gates' outputs without noise.
        dropped: Images (windows) of every layer that found their expert full; 0 except in sparse
            training.
        load_balancing_loss: Mean over layers of the Switch Transformer's auxiliary loss; 1 if all
            experts are used equally, up to the number of experts if one takes everything.
    """

    expert: Int[Array | np.ndarray, "..."]
    logits: Float[Array | np.ndarray, "... e"]
    dropped: Int[Array | np.ndarray, "..."]
    load_balancing_loss: Float[Array | np.ndarray, "..."]


@flax.struct.dataclass
class Choice:
    """One layer's decision for the images of a batch, or for their windows.

    Attributes:
        expert: Chosen expert.
        probabilities: Softmax of the logits with their noise.
        logits: Without noise.
    """

    expert: Int[Array, "b *n"]
    probabilities: Float[Array, "b *n e"]
    logits: Float[Array, "b *n e"]


class BatchNorm(nn.Module):
    """Batch norm of vectors as PyTorch does it.

    Training normalises by the biased variance of the batch and stores the unbiased one, which
    Flax's own layer cannot. Statistics are over the global batch: under `jit` the batch is one
    array, however many devices hold it. Differs: per device in the released code.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b c"], *, train: bool) -> Float[Array, "b c"]:
        """Returns normalised vectors; in training updates the running statistics."""
        c = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        var = self.variable("batch_stats", "var", jnp.ones, (c,))
        if not train:
            return batch_norm(x, mean.value, var.value, scale, bias)
        batch = x.shape[0]
        batch_mean = x.mean(axis=0)
        centred = _centred(_centred(x))
        batch_var = jnp.mean(centred * centred, axis=0)
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            unbiased = batch_var * (batch / (batch - 1))
            mean.value = (1 - MOMENTUM) * mean.value + MOMENTUM * batch_mean
            var.value = (1 - MOMENTUM) * var.value + MOMENTUM * unbiased
        return batch_norm(centred, jnp.zeros_like(batch_mean), batch_var, scale, bias)


def _centred(x: Float[Array, "b c"]) -> Float[Array, "b c"]:
    """Subtracts the mean over the batch.

    Twice leaves a mean of zero to the last digit, where once leaves the rounding of the first mean.
    Gradients inherit that: those of the layer below are sums over the batch that nearly cancel.
    """
    return x - x.mean(axis=0, keepdims=True)


class Gate(nn.Module):
    """Maps an image's mean features to one logit an expert, in float32."""

    num_experts: int

    @nn.compact
    def __call__(self, pooled: Float[Array, "b c"], *, train: bool) -> Float[Array, "b e"]:
        """Returns logits.

        Raises:
            ValueError: In training the batch holds a single image, which has no variance.
        """
        if train and pooled.shape[0] < 2:
            raise ValueError(
                f"batch of {pooled.shape[0]} in training: the gate's batch norm needs 2 images or "
                "more; raise train.batch_size"
            )
        x = pooled.astype(wide(pooled.dtype))
        for i, features in enumerate(HIDDEN):
            x = nn.leaky_relu(Dense(features, name=f"dense{i}")(x), LEAK)
            x = BatchNorm(name=f"norm{i}")(x, train=train)
        return Dense(self.num_experts, name=f"dense{len(HIDDEN)}")(x)


def choose(
    logits: Float[Array, "b *n e"],
    noise: Float[Array, "b *m e"] | None,
    forced: Int[Array, "b *n"] | None,
) -> Choice:
    """Picks the largest logit (plus noise, where given) unless the choice is forced."""
    noisy = logits if noise is None else logits + noise
    expert = jnp.argmax(noisy, axis=-1).astype(jnp.int32) if forced is None else forced
    return Choice(expert=expert, probabilities=jax.nn.softmax(noisy), logits=logits)


def straight_through(choice: Choice) -> Float[Array, "b e"]:
    """Returns one-hot weights whose gradient is the softmax's.

    Source: architecture.md section 6.3 (straight-through Gumbel softmax, temperature 1).
    """
    p = choice.probabilities
    one_hot = jax.nn.one_hot(choice.expert, p.shape[-1], dtype=p.dtype)
    return one_hot - jax.lax.stop_gradient(p) + p


def sparse_weight(choice: Choice) -> Float[Array, " b"]:
    """Returns 1, with the gradient of the chosen expert's probability.

    Differs: the released gate's gradient needs the outputs of all experts, which sparse dispatch
    does not compute. Source: architecture.md section 12.
    """
    p = jnp.take_along_axis(choice.probabilities, choice.expert[:, None], axis=-1)[:, 0]
    return 1.0 + p - jax.lax.stop_gradient(p)


def capacity(batch: int, num_experts: int, factor: float) -> int:
    """Returns the slots of each expert: min(B, ceil(B * factor / E))."""
    return min(batch, math.ceil(batch * factor / num_experts))


def load_balancing_loss(choice: Choice) -> Float[Array, ""]:
    """Returns E * sum_e f_e * P_e: f_e the share of images sent to e, P_e its mean probability.

    P comes from the logits without noise. Source: Fedus, Zoph, Shazeer, "Switch Transformers",
    2021, equation 4.
    """
    e = choice.logits.shape[-1]
    share = jax.nn.one_hot(choice.expert, e).reshape(-1, e).mean(axis=0)
    probability = jax.nn.softmax(choice.logits).reshape(-1, e).mean(axis=0)
    return e * jnp.sum(share * probability)
