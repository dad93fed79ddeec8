"""The transformer block, and a group of blocks."""

import flax.linen as nn
import flax.struct
from jaxtyping import Array, Float, Int

from armoe_jax.models.attention import WindowAttention
from armoe_jax.models.config import ARMoEConfig
from armoe_jax.models.ffn import SpatialGateFFN
from armoe_jax.models.layers import LayerNorm, ResidualConv
from armoe_jax.models.moe import MixtureOfExperts
from armoe_jax.models.routing import Routing
from armoe_jax.models.sequence import run_in_sequence

RESIDUAL_SCALE = 1e-4
"""Initial value of gamma1 and gamma2."""


@flax.struct.dataclass
class Control:
    """What differs between blocks besides their parameters; leading axes run over blocks.

    Attributes:
        shifted: 1 where the attention windows are shifted, else 0.
        expert: Forced experts, of images or of their windows, or None to follow the gate.
        noise: Added to the gate's logits, or None.
        quality: Coding quality of each image, in networks whose blocks adapt to it; or None.
    """

    shifted: Int[Array, "*blocks"]
    expert: Int[Array, "..."] | None
    noise: Float[Array, "*blocks b e"] | None
    quality: Float[Array, "*blocks b"] | None = None


@flax.struct.dataclass
class Execution:
    """How blocks are run; nothing here changes the parameters.

    Attributes:
        train: Batch statistics, dropout and the training dispatch.
        expert: Expert that every block is forced to, known at compile time; or None.
        dispatch: How training serves the experts, "capacity" or "dense".
        capacity_factor: Slots of an expert relative to an equal share of the batch.
        scan: Compiles one block and loops over it.
        remat: The backward pass recomputes whole blocks from their inputs; else only what is
            cheap: everything but matrix products and attention.
        dtype: Precision of matrix operands.
    """

    train: bool = flax.struct.field(pytree_node=False, default=False)
    expert: int | None = flax.struct.field(pytree_node=False, default=None)
    dispatch: str = flax.struct.field(pytree_node=False, default="capacity")
    capacity_factor: float = flax.struct.field(pytree_node=False, default=2.0)
    scan: bool = flax.struct.field(pytree_node=False, default=True)
    remat: bool = flax.struct.field(pytree_node=False, default=False)
    dtype: str = flax.struct.field(pytree_node=False, default="float32")


class Block(nn.Module):
    """Attention, feed-forward, mixture of experts, feed-forward. Source: architecture.md section 3.

    Attributes:
        config: The network's architecture.
        num_heads: Attention heads.
        execution: How it is run.
    """

    config: ARMoEConfig
    num_heads: int
    execution: Execution

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], control: Control
    ) -> tuple[Float[Array, "b h w c"], Routing]:
        """Returns features of the same shape and what the gate decided."""
        c, run = self.config, self.execution
        attention = WindowAttention(
            num_heads=self.num_heads,
            window=c.split_size,
            qkv_bias=c.qkv_bias,
            qk_scale=c.qk_scale,
            drop_rate=c.drop_rate,
            attn_drop_rate=c.attn_drop_rate,
            dtype=run.dtype,
            name="attn",
        )
        mixture = MixtureOfExperts(
            experts=c.experts,
            dispatch=run.dispatch,
            capacity_factor=run.capacity_factor,
            dtype=run.dtype,
            name="moe",
        )
        ffn1 = SpatialGateFFN(c.hidden_dim, dtype=run.dtype, name="ffn1")
        ffn2 = SpatialGateFFN(c.hidden_dim, dtype=run.dtype, name="ffn2")

        # The scaled skips come on top of the plain ones, as released.
        entry = x
        x = x + attention(LayerNorm(name="norm1")(x), control.shifted, deterministic=not run.train)
        x = x + ffn1(LayerNorm(name="norm2")(x))
        x = x + entry * self._gamma("gamma1")
        entry = x
        mixed, record = mixture(
            LayerNorm(name="norm3")(x),
            train=run.train,
            expert=control.expert if run.expert is None else run.expert,
            noise=control.noise,
        )
        x = x + mixed
        x = x + ffn2(LayerNorm(name="norm4")(x))
        return x + entry * self._gamma("gamma2"), record

    def _gamma(self, name: str) -> Float[Array, "1 1 1 c"]:
        init = nn.initializers.constant(RESIDUAL_SCALE)
        return self.param(name, init, (self.config.embed_dim,)).reshape(1, 1, 1, -1)


class Group(nn.Module):
    """Blocks, a convolution, and a skip around both. Source: architecture.md section 2.

    Attributes:
        config: The network's architecture.
        depth: Number of blocks.
        num_heads: Attention heads.
        execution: How it is run.
    """

    config: ARMoEConfig
    depth: int
    num_heads: int
    execution: Execution

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], control: Control
    ) -> tuple[Float[Array, "b h w c"], Routing]:
        """Returns features of the same shape and the records of the blocks, stacked."""
        block = Block(self.config, self.num_heads, self.execution, parent=None)
        names = [f"block_{i}" for i in range(self.depth)]
        run = self.execution
        stored = "inputs" if run.remat else "products"
        y, records = run_in_sequence(
            self,
            block,
            names,
            x,
            control,
            scan=run.scan,
            stored=stored if run.train else "everything",
        )
        conv = ResidualConv(self.config.resi_connection, dtype=self.execution.dtype, name="conv")
        return x + conv(y), records


def shift_schedule(config: ARMoEConfig) -> list[list[int]]:
    """Returns 1 for every block (of every group) with shifted windows, else 0."""
    return [
        [int(has_shifted_windows(group, block)) for block in range(depth)]
        for group, depth in enumerate(config.depth)
    ]


def has_shifted_windows(group: int, block: int) -> bool:
    """Tells whether a block shifts its windows.

    Even groups shift their blocks 2, 6, 10, ...; odd groups 0, 4, 8, ... Source: architecture.md
    section 5.
    """
    return block % 4 == (2 if group % 2 == 0 else 0)
