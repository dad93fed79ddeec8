"""The whole network."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from armoe_jax.models.blocks import Control, Execution, Group, shift_schedule
from armoe_jax.models.config import ARMoEConfig
from armoe_jax.models.layers import Conv, LayerNorm, ResidualConv
from armoe_jax.models.moe import DISPATCHES
from armoe_jax.models.quality import Modulation
from armoe_jax.models.quality_estimator import MeanEstimator, prefer_whole
from armoe_jax.models.routing import Routing
from armoe_jax.models.sequence import run_in_sequence
from armoe_jax.ops.rearrange import pixel_shuffle
from armoe_jax.ops.resize import imresize

RGB_MEAN = (0.4488, 0.4371, 0.4040)
"""Subtracted from RGB inputs: the mean of DIV2K, as in SwinIR. Gray inputs have none."""

TAIL_DIM = 64
"""Width of the icar tail."""

DTYPES = ("float32", "bfloat16", "float64")
"""The last only for checks, with JAX's jax_enable_x64."""


class ARMoE(nn.Module):
    """Restores images with a window-attention transformer and a mixture of frequency experts.

    Source: architecture.md sections 2 to 8. Differs: inference picks the expert with the largest
    logit instead of drawing one, and computes no other.

    Attributes:
        config: The architecture, which decides the parameters.
        dispatch: Training: "capacity" runs each expert on a bounded share of the batch; "dense"
            runs all experts on all images, as released.
        capacity_factor: Slots of an expert relative to an equal share of the batch.
        scan: Compiles one block and loops over it; same parameters and results.
        remat: The backward pass recomputes whole blocks: least memory, about a third more time.
            Without it, it recomputes only what is cheap (not matrix products, not attention).
        dtype: Precision of matrix operands, "float32" or "bfloat16".
    """

    config: ARMoEConfig
    dispatch: str = "capacity"
    capacity_factor: float = 2.0
    scan: bool = True
    remat: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        _require_one_of("dispatch", self.dispatch, DISPATCHES)
        _require_one_of("dtype", self.dtype, DTYPES)
        if not self.capacity_factor > 0:
            raise ValueError(f"capacity_factor={self.capacity_factor} must be positive")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool = False,
        expert: int | Int[Array, "l b"] | Int[np.ndarray, "l b"] | None = None,
        gate_noise: Float[Array, "l b e"] | Float[np.ndarray, "l b e"] | None = None,
        quality: Float[Array, " images"] | None = None,
        estimate: Float[Array, " images"] | Float[np.ndarray, " images"] | None = None,
        return_routing: bool = False,
    ) -> Float[Array, "b height width c"] | tuple[Float[Array, "b height width c"], Routing]:
        """Restores a batch of images.

        Args:
            x: Images, RGB (or gray), in [0, 1].
            train: Uses and updates batch statistics (collection "batch_stats"), draws gate noise
                from the stream "routing" unless `gate_noise` is given, and dropout from "dropout".
            expert: Forces the experts: one index for everything, or one a layer and image.
            gate_noise: Added to the logits of the gates, such as Gumbel samples.
            quality: Coding quality of each image, for a network with a `quality_range`; None:
                estimated.
            estimate: What the network estimates of the image that each is a part of, to be used
                in place of its own estimate; NaN: unknown.
            return_routing: Also returns what the gates decided.

        Returns:
            Images, not clipped, `config.scale` times as large; with `return_routing` also a
            Routing with a leading axis over layers.

        Raises:
            ValueError: The width is odd (the Haar expert pairs columns), the channels do not match
                the config, a forced expert does not exist, or a training batch is too small.
        """
        c = self.config
        _check_input(c, x, expert, quality)
        mean = jnp.asarray(RGB_MEAN if c.in_chans == 3 else (0.0,), x.dtype).reshape(1, 1, 1, -1)
        if train and gate_noise is None and c.experts and expert is None:
            shape = (c.num_layers, x.shape[0], len(c.experts))
            # One type, so that the noise does not depend on the precision of the computation.
            gate_noise = jax.random.gumbel(self.make_rng("routing"), shape, jnp.float32)

        if c.quality_range and quality is None:
            own = MeanEstimator(c.quality_range, name="quality")(x)
            quality = prefer_whole(own, estimate)
        normalised = (x - mean) * c.img_range
        shallow = Conv(c.embed_dim, dtype=self.dtype, name="conv_first")(normalised)
        entry = LayerNorm(name="embed_norm")(shallow)
        if quality is not None:
            entry = Modulation(c.quality_range, name="modulation_first")(entry, quality)
        deep, routing = self._groups(entry, train, expert, gate_noise)
        deep = LayerNorm(name="norm")(deep)
        deep = ResidualConv(c.resi_connection, dtype=self.dtype, name="conv_after_body")(deep)
        features = deep + shallow
        if quality is not None:
            features = Modulation(c.quality_range, name="modulation_last")(features, quality)
        y = self._tail(features, normalised)
        if c.global_skip and c.upsampler:
            y = y + _upscale(normalised, c.scale)
        y = y / c.img_range + mean
        return (y, routing) if return_routing else y

    def _groups(
        self,
        x: Float[Array, "b h w c"],
        train: bool,
        expert: int | Int[Array, "l b"] | Int[np.ndarray, "l b"] | None,
        gate_noise: Float[Array, "l b e"] | Float[np.ndarray, "l b e"] | None,
    ) -> tuple[Float[Array, "b h w c"], Routing]:
        c = self.config
        run = Execution(
            train=train,
            expert=expert if isinstance(expert, int) else None,
            dispatch=self.dispatch,
            capacity_factor=self.capacity_factor,
            scan=self.scan,
            remat=self.remat,
            dtype=self.dtype,
        )
        shifted = np.concatenate([np.asarray(s, np.int32) for s in shift_schedule(c)])
        control = Control(
            shifted=jnp.asarray(shifted),
            expert=None if expert is None or isinstance(expert, int) else jnp.asarray(expert),
            noise=None if gate_noise is None else jnp.asarray(gate_noise),
        )
        names = [f"group_{g}" for g in range(len(c.depth))]
        if c.equal_groups:
            group = Group(c, c.depth[0], c.num_heads[0], run, parent=None)
            per_group = jax.tree.map(
                lambda a: a.reshape(len(names), c.depth[0], *a.shape[1:]), control
            )
            x, routing = run_in_sequence(self, group, names, x, per_group, scan=self.scan)
            return x, jax.tree.map(
                lambda a: a.reshape(c.num_layers, *a.shape[2:]), routing
            ).replace(load_balancing_loss=routing.load_balancing_loss.mean())
        records = []
        start = 0
        for name, depth, heads in zip(names, c.depth, c.num_heads, strict=True):
            part = jax.tree.map(lambda a, s=start, d=depth: a[s : s + d], control)
            x, record = Group(c, depth, heads, run, name=name)(x, part)
            records.append(record)
            start += depth
        routing = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *records)
        return x, routing.replace(load_balancing_loss=routing.load_balancing_loss.mean())

    def _tail(
        self, features: Float[Array, "b h w c"], normalised: Float[Array, "b h w chans"]
    ) -> Float[Array, "b height width chans"]:
        c = self.config
        # With a global skip the untrained network must be the identity.
        if c.upsampler == "icar":
            x = nn.leaky_relu(Conv(TAIL_DIM, dtype=self.dtype, name="conv_before")(features), 0.01)
            last = Conv(c.in_chans, zero_init=c.global_skip, dtype=self.dtype, name="conv_last")
            return last(x)
        if c.upsampler == "lightSR":
            channels = c.in_chans * c.upscale**2
            last = Conv(channels, zero_init=c.global_skip, dtype=self.dtype, name="upsample")
            return pixel_shuffle(last(features), c.upscale)
        return normalised


def _upscale(x: Float[Array, "b h w c"], scale: int) -> Float[Array, "b height width c"]:
    """MATLAB-like bicubic, as two constant matrices."""
    if scale == 1:
        return x
    rows, columns = (_bicubic_matrix(size, scale) for size in x.shape[1:3])
    return jnp.einsum("yh,xw,bhwc->byxc", rows, columns, x)


def _bicubic_matrix(size: int, scale: int) -> Float[np.ndarray, "large small"]:
    impulses = np.eye(size, dtype=np.float32)[:, None, :]
    return imresize(impulses, float(scale))[:, 0, :]


def _check_input(
    config: ARMoEConfig,
    x: Float[Array, "b h w c"],
    expert: int | Int[Array, "l b"] | Int[np.ndarray, "l b"] | None,
    quality: Float[Array, " images"] | None,
) -> None:
    batch, _, width, channels = x.shape
    if channels != config.in_chans:
        raise ValueError(
            f"images have {channels} channels, the network takes in_chans={config.in_chans}"
        )
    if width % 2:
        raise ValueError(
            f"width {width} is odd, but the Haar expert pairs columns: pad by one column and crop "
            "the result, as armoe_jax.Restorer does"
        )
    if quality is not None and not config.quality_range:
        raise ValueError(
            "quality is given, but the network cannot adapt to it: its quality_range is empty"
        )
    if quality is not None and quality.shape != (batch,):
        raise ValueError(f"quality has shape {quality.shape}, expected (images,) = {(batch,)}")
    if expert is None:
        return
    count = len(config.experts)
    if isinstance(expert, int):
        if not 0 <= expert < count:
            raise ValueError(f"expert={expert} does not exist; there are {count}: {config.experts}")
    elif expert.shape != (config.num_layers, batch):
        raise ValueError(
            f"expert has shape {expert.shape}, expected (layers, images) = "
            f"{(config.num_layers, batch)}"
        )


def _require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is not allowed; it must be one of {allowed}")
