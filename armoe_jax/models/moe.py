"""The mixture layer: projection, gate, one expert of each image, gated output."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from armoe_jax.experts import EXPERTS, ExpertInputs
from armoe_jax.models import routing
from armoe_jax.models.dispatch import ExpertFn, by_branch, by_capacity, by_weight
from armoe_jax.models.layers import Dense, DepthwiseConv, LayerNorm
from armoe_jax.models.routing import Choice, Routing
from armoe_jax.ops.platform import everywhere
from armoe_jax.ops.precision import wide
from armoe_jax.ops.rearrange import reread_as_width_channel_height
from armoe_jax.ops.transforms import Decay, heat_decay

TO_K_INPUT = 5.0
"""The network that gives the decay's exponent sees this constant everywhere, as released."""

DISPATCHES = ("capacity", "dense")


class MixtureOfExperts(nn.Module):
    """Frequency-domain mixture of experts. Source: architecture.md section 6.

    Attributes:
        experts: Names out of EXPERTS; () passes the projected features on.
        dispatch: How training serves the experts: "capacity" (sparse) or "dense" (as released).
        capacity_factor: Slots of an expert relative to an equal share of the batch.
        dtype: Precision of matrix operands outside the experts, the gate and the norms.
    """

    experts: tuple[str, ...]
    dispatch: str = "capacity"
    capacity_factor: float = 2.0
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool = False,
        expert: int | Int[Array, " b"] | None = None,
        noise: Float[Array, "b e"] | None = None,
    ) -> tuple[Float[Array, "b h w c"], Routing]:
        """Returns features of the same shape and what the gate decided.

        Args:
            x: Features.
            train: Batch statistics in the gate, and the dispatch of the attribute.
            expert: Forces an expert, on all images (int) or image by image.
            noise: Added to the gate's logits.
        """
        c = x.shape[-1]
        features = DepthwiseConv(name="dwconv")(x)
        projected = Dense(2 * c, dtype=self.dtype, name="linear")(features)
        values, z = jnp.split(projected, 2, axis=-1)
        weight: Float[Array, " b"] | None = None
        if self.experts:
            inputs = ExpertInputs(
                values=values.astype(wide(values.dtype)),
                features=features.astype(wide(features.dtype)),
                decay=self._decay(x.shape[1], x.shape[2], c),
            )
            choice = self._choose(inputs.values, train=train, expert=expert, noise=noise)
            mixture, weight, dropped = self._mix(inputs, choice, train=train, expert=expert)
            record = _record(choice, dropped)
        else:
            mixture = values
            record = _empty_record(x.shape[0])
        out = LayerNorm(name="out_norm")(mixture).astype(x.dtype)
        if weight is not None:
            out = out * weight.reshape(-1, 1, 1, 1).astype(x.dtype)
        out = Dense(c, dtype=self.dtype, name="out_linear")(out * jax.nn.silu(z))
        return reread_as_width_channel_height(out), record

    def _decay(self, height: int, width: int, c: int) -> Decay:
        constant = jnp.full((1, c), TO_K_INPUT)
        k = nn.relu(Dense(c, name="to_k")(constant))[0]
        return heat_decay(k, height, width)

    def _choose(
        self,
        values: Float[Array, "b h w c"],
        *,
        train: bool,
        expert: int | Int[Array, " b"] | None,
        noise: Float[Array, "b e"] | None,
    ) -> Choice:
        gate = routing.Gate(len(self.experts), name="gate")
        # One exchange between devices, instead of one for every sum over the batch in the gate.
        pooled, noise = everywhere((values.mean(axis=(1, 2)), noise))
        logits = gate(checkpoint_name(pooled, "pooled"), train=train)
        forced = None if expert is None else jnp.broadcast_to(jnp.int32(expert), logits.shape[:1])
        return everywhere(routing.choose(logits, noise, forced))

    def _mix(
        self,
        inputs: ExpertInputs,
        choice: Choice,
        *,
        train: bool,
        expert: int | Int[Array, " b"] | None,
    ) -> tuple[Float[Array, "b h w c"], Float[Array, " b"] | None, Int[Array, ""]]:
        """Returns the mixture, a factor for its normalised form, and the number of drops."""
        functions = self._functions(inputs)
        none_dropped = jnp.zeros((), jnp.int32)
        if train and self.dispatch == "dense":
            weights = everywhere(routing.straight_through(choice))
            return by_weight(functions, inputs, weights), None, none_dropped
        if train:
            slots = routing.capacity(
                choice.expert.shape[0], len(self.experts), self.capacity_factor
            )
            mixture, dropped = by_capacity(functions, inputs, choice.expert, slots)
            weight = everywhere(routing.sparse_weight(choice))
            return mixture, weight, dropped.sum().astype(jnp.int32)
        if isinstance(expert, int):
            return functions[expert](inputs), None, none_dropped
        return by_branch(functions, inputs, choice.expert), None, none_dropped

    def _functions(self, inputs: ExpertInputs) -> Sequence[ExpertFn]:
        """Returns the experts as pure functions: modules must not be called inside a branch."""
        functions = []
        for name in self.experts:
            module = EXPERTS[name](parent=None)
            init = functools.partial(_init_params, module, inputs)
            variables = {"params": self.param(name, init)} if module.has_parameters else {}
            functions.append(jax.tree_util.Partial(module.apply, variables))
        return functions


def _init_params(module: nn.Module, inputs: ExpertInputs, key: Array) -> dict:
    return dict(module.init(key, inputs)["params"])


def _record(choice: Choice, dropped: Int[Array, ""]) -> Routing:
    return Routing(
        expert=choice.expert,
        logits=choice.logits,
        dropped=dropped,
        load_balancing_loss=routing.load_balancing_loss(choice),
    )


def _empty_record(batch: int) -> Routing:
    return Routing(
        expert=jnp.zeros((batch,), jnp.int32),
        logits=jnp.zeros((batch, 0)),
        dropped=jnp.zeros((), jnp.int32),
        load_balancing_loss=jnp.zeros(()),
    )
