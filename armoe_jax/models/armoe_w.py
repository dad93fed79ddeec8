"""The network whose mixtures choose experts window by window.

Differs: nothing of it is in the released code. Residual pairs of convolutions do most of the work;
after them, in each block, frequency experts correct windows of the features, each window by the
expert that its gate chooses.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from armoe_jax.models.blocks import Control, Execution
from armoe_jax.models.fields import require
from armoe_jax.models.interval_head import IntervalHead
from armoe_jax.models.quality import KNOTS, Modulation, knot_weights
from armoe_jax.models.quality_estimator import ESTIMATORS, LEVELS, prefer_whole
from armoe_jax.models.routing import Routing
from armoe_jax.models.sequence import run_in_sequence
from armoe_jax.models.specialists import restore_by_specialists, specialist_of
from armoe_jax.models.windowed_config import ARMoEWConfig
from armoe_jax.models.windowed_mixture import WindowedMixture
from armoe_jax.ops.color import from_planes, to_planes
from armoe_jax.ops.convolution import conv2d
from armoe_jax.ops.frames import pad_to_windows
from armoe_jax.ops.rearrange import pixel_shuffle, pixel_unshuffle

GAIN = 4.0
"""Planes are multiplied by it: features then start with a size near 1."""

SMALL = 0.1
"""Size of a residual's, and of the whole correction's, untrained values relative to features."""

MISTRUST = 1.1
"""A file is not believed if its pixels look coded with steps larger by this many octaves: it was
coded before, more strongly. Of images coded once at quality 5 to 98 none is mistrusted: the largest
excess is 0.58 for 192x192 parts of Kodak's images and 0.90 for McMaster's. A first coding that
`images.jpeg_history` finds needs no such guess."""

SURELY_CODED = 3.5
"""Estimates below this (log2 of the mean step; quality 90) are too uncertain to contradict a
file."""


class ScaledConv(nn.Module):
    """3x3 convolution whose untrained output is `scale` times as large as He's.

    Attributes:
        features: Output channels.
        scale: See above.
        dtype: Precision of the operands.
    """

    features: int
    scale: float = 1.0
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        """Returns the convolved image, in the type of x."""
        init = nn.initializers.variance_scaling(2.0 * self.scale**2, "fan_in", "normal")
        kernel = self.param("kernel", init, (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return conv2d(x, kernel.astype(self.dtype), bias).astype(x.dtype)


class ResidualPair(nn.Module):
    """Adds two convolutions of the features, the first adapted to the coding quality.

    Attributes:
        quality_range: Of `Modulation`; () for none.
        dtype: Precision of the operands.
    """

    quality_range: tuple[float, ...]
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], quality: Float[Array, " b"] | None
    ) -> Float[Array, "b h w c"]:
        """Returns features of the same shape."""
        c = x.shape[-1]
        hidden = ScaledConv(c, dtype=self.dtype, name="conv0")(x)
        if quality is not None:
            hidden = Modulation(self.quality_range, name="modulation")(hidden, quality)
        return x + ScaledConv(c, SMALL, dtype=self.dtype, name="conv1")(nn.relu(hidden))


class WindowedBlock(nn.Module):
    """Residual pairs, then a mixture of frequency experts.

    Attributes:
        config: The network's architecture.
        execution: How it is run.
    """

    config: ARMoEWConfig
    execution: Execution

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], control: Control
    ) -> tuple[Float[Array, "b h w c"], Routing]:
        """Returns features of the same shape and what the gates decided."""
        c, run = self.config, self.execution
        for i in range(c.pairs):
            pair = ResidualPair(c.quality_range, dtype=run.dtype, name=f"pair_{i}")
            x = pair(x, control.quality)
        if not c.experts:
            return x, _no_choice(x)
        mixture = WindowedMixture(
            experts=c.experts,
            expert_dim=c.expert_dim,
            share_mixings=c.share_mixings,
            adapt=c.adapt_experts,
            window=c.window,
            route=c.route,
            dispatch=run.dispatch,
            capacity_factor=run.capacity_factor,
            dtype=run.dtype,
            name="moe",
        )
        return mixture(
            x,
            None if control.quality is None else _position(control.quality, c.quality_range),
            train=run.train,
            expert=control.expert if run.expert is None else run.expert,
            noise=control.noise,
        )


class WindowedGroup(nn.Module):
    """The blocks, one after the other.

    Attributes:
        config: The network's architecture.
        execution: How they are run.
    """

    config: ARMoEWConfig
    execution: Execution

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], control: Control
    ) -> tuple[Float[Array, "b h w c"], Routing]:
        """Returns features of the same shape and the records of the blocks, stacked."""
        run = self.execution
        block = WindowedBlock(self.config, run, parent=None)
        names = [f"block_{i}" for i in range(self.config.depth)]
        stored = "inputs" if run.remat and run.train else "everything"
        return run_in_sequence(self, block, names, x, control, scan=run.scan, stored=stored)


class ARMoEW(nn.Module):
    """Restores images with convolutions and a windowed mixture of frequency experts.

    Attributes:
        config: The architecture, which decides the parameters.
        dispatch: Training: "capacity" runs each expert on a bounded share of every image's windows;
            "dense" runs all experts on all windows, weighted by the gate.
        capacity_factor: Slots of an expert relative to an equal share of the windows.
        scan: Compiles one block and loops over it; same parameters and results. XLA's CPU compiler
            runs convolutions several times slower inside a loop.
        remat: The backward pass recomputes blocks: least memory, about a third more time.
        dtype: Precision of matrix operands, "float32" or "bfloat16".
    """

    config: ARMoEWConfig
    dispatch: str = "capacity"
    capacity_factor: float = 1.25
    scan: bool = False
    remat: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool = False,
        expert: int | Int[Array, "l b *n"] | Int[np.ndarray, "l b *n"] | None = None,
        gate_noise: Float[Array, "l b e"] | Float[np.ndarray, "l b e"] | None = None,
        quality: Float[Array, " images"] | None = None,
        steps: Float[Array, "images frequencies"] | None = None,
        estimate: Float[Array, " images"] | Float[np.ndarray, " images"] | None = None,
        return_routing: bool = False,
    ) -> Float[Array, "b h w c"] | tuple[Float[Array, "b h w c"], Routing]:
        """Restores a batch of images of any size.

        Args:
            x: Images, RGB (or gray), in [0, 1].
            train: Uses the dispatch of the attribute, and draws gate noise from the stream
                "routing" unless `gate_noise` is given.
            expert: Forces the experts: one index for everything, one a layer and image, or one a
                layer, image and window (such as `Routing.expert`).
            gate_noise: Added to the logits of all windows of an image.
            quality: Coding quality of each image, for a network with a `quality_range`; None: that
                of `steps` where they are known and agree with the pixels, else estimated.
            steps: Quantiser steps of each JPEG's luma, 64 by frequency, row by row, in gray levels;
                0 where unknown. The coding grid must start at the image's corner.
            estimate: What the network estimates of the image that each is a part of, to be used
                in place of its own estimate; NaN: unknown.
            return_routing: Also returns what the gates decided.

        Returns:
            Images of the same shape, not clipped; with `return_routing` also a Routing whose
            `expert` has axes layer, image, window, windows counted row by row.

        Raises:
            ValueError: The channels do not match the config, or an argument's shape or value is not
                one that the config allows.
        """
        c = self.config
        _check_input(c, x, expert, quality, steps)
        b, h, w, chans = x.shape
        if c.quality_range and quality is None:
            quality, steps = self._believed(x, steps, estimate)
        if c.specialists:
            y = self._by_specialists(x, jnp.asarray(quality), steps, train=train)
            return (y, _no_choices(c.num_layers, x)) if return_routing else y
        padded = pad_to_windows(x, c.alignment)
        planes = to_planes(padded)
        features = self._stem(planes, quality)
        if train and gate_noise is None and len(c.experts) > 1 and expert is None:
            shape = (c.num_layers, b, len(c.experts))
            gate_noise = jax.random.gumbel(self.make_rng("routing"), shape, jnp.float32)
        features, routing = self._blocks(features, quality, train, expert, gate_noise)
        tail = ScaledConv(chans * c.stride**2, SMALL, dtype=self.dtype, name="conv_last")
        correction = pixel_shuffle(tail(features), c.stride) * (SMALL / GAIN)
        if c.interval_head and self.is_initializing():
            steps = jnp.zeros((b, 64))
        if c.interval_head and steps is not None:
            luma, chroma = correction[..., 0], correction[..., 1:]
            head = IntervalHead(name="head")
            luma = head(planes[..., 0] * LEVELS - 0.5, luma * LEVELS, steps) / LEVELS
            correction = jnp.concatenate([luma[..., None], chroma], axis=-1)
        y = (padded + from_planes(correction))[:, :h, :w]
        return (y, routing) if return_routing else y

    def _believed(
        self,
        x: Float[Array, "b h w c"],
        steps: Float[Array, "b f"] | None,
        whole: Float[Array, " b"] | Float[np.ndarray, " b"] | None,
    ) -> tuple[Float[Array, " b"], Float[Array, "b f"] | None]:
        """Returns the coding quality, and the steps of those files that their pixels agree with."""
        estimator = ESTIMATORS[self.config.quality_estimator]
        own = estimator(self.config.quality_range, name="quality")(x)
        estimate = prefer_whole(own, whole)
        if steps is None:
            return estimate, None
        told = quality_of_steps(steps)
        coded_before = (estimate > told + MISTRUST) & (estimate > SURELY_CODED)
        believed = (steps[:, 0] > 0) & ~coded_before
        return jnp.where(believed, told, estimate), jnp.where(believed[:, None], steps, 0.0)

    def _by_specialists(
        self,
        x: Float[Array, "b h w c"],
        quality: Float[Array, " b"],
        steps: Float[Array, "b f"] | None,
        *,
        train: bool,
    ) -> Float[Array, "b h w c"]:
        """Restores each image by the set of weights that its quality chooses."""
        bounds = self.config.specialists
        single = dataclasses.replace(self.config, specialists=())
        network = self.clone(config=single, parent=None, name=None)

        def new(key: Array) -> dict[str, Any]:
            return dict(network.init(key, x[:1], quality=quality[:1])["params"])

        def restore(params: Any, x: Array, quality: Array, steps: Array | None) -> Any:
            return network.apply({"params": params}, x, train=train, quality=quality, steps=steps)

        specialists = [self.param(f"specialist_{i}", new) for i in range(len(bounds) + 1)]
        index = specialist_of(quality, bounds)
        return restore_by_specialists(restore, specialists, index, x, quality, steps)

    def _stem(
        self, planes: Float[Array, "b h w c"], quality: Float[Array, " b"] | None
    ) -> Float[Array, "b rows columns features"]:
        c = self.config
        x = pixel_unshuffle(planes * GAIN, c.stride)
        x = ScaledConv(c.embed_dim, 0.7, dtype=self.dtype, name="conv_first")(x)
        if not c.grid:
            return x
        side = c.grid // c.stride
        knots = KNOTS if quality is not None else 1
        shape = (knots, side, side, c.embed_dim)
        table = self.param("grid", nn.initializers.zeros, shape)
        shares = jnp.ones((x.shape[0], 1), x.dtype)
        if quality is not None:
            shares = knot_weights(quality, c.quality_range)
        offsets = jnp.matmul(shares, table.reshape(knots, -1)).reshape(-1, *shape[1:])
        b, rows, columns, features = x.shape
        tiles = x.reshape(b, rows // side, side, columns // side, side, features)
        return (tiles + offsets[:, None, :, None].astype(x.dtype)).reshape(x.shape)

    def _blocks(
        self,
        x: Float[Array, "b h w c"],
        quality: Float[Array, " b"] | None,
        train: bool,
        expert: int | Int[Array, "l b *n"] | Int[np.ndarray, "l b *n"] | None,
        gate_noise: Float[Array, "l b e"] | Float[np.ndarray, "l b e"] | None,
    ) -> tuple[Float[Array, "b h w c"], Routing]:
        run = Execution(
            train=train,
            expert=expert if isinstance(expert, int) else None,
            dispatch=self.dispatch,
            capacity_factor=self.capacity_factor,
            scan=self.scan,
            remat=self.remat,
            dtype=self.dtype,
        )
        layers = self.config.num_layers
        everywhere = None
        if quality is not None:
            everywhere = jnp.broadcast_to(quality[None], (layers, *quality.shape))
        control = Control(
            shifted=jnp.zeros((layers,), jnp.int32),
            expert=None if expert is None or isinstance(expert, int) else jnp.asarray(expert),
            noise=None if gate_noise is None else jnp.asarray(gate_noise),
            quality=everywhere,
        )
        x, routing = WindowedGroup(self.config, run, name="group_0")(x, control)
        loss = jnp.mean(routing.load_balancing_loss)
        return x, dataclasses.replace(routing, load_balancing_loss=loss)


def quality_of_steps(steps: Float[Array, "b f"]) -> Float[Array, " b"]:
    """Returns the log2 of the mean luma step: what JPEG networks take for the coding quality."""
    return jnp.log2(jnp.maximum(steps.mean(axis=-1), 1.0))


def _position(quality: Float[Array, " b"], quality_range: tuple[float, ...]) -> Float[Array, " b"]:
    mild, strong = quality_range
    return jnp.clip(2.0 * (quality - mild) / (strong - mild) - 1.0, -1.0, 1.0)


def _no_choice(x: Float[Array, "b h w c"]) -> Routing:
    batch = x.shape[0]
    return Routing(
        expert=jnp.zeros((batch, 0), jnp.int32),
        logits=jnp.zeros((batch, 0, 0)),
        dropped=jnp.zeros((), jnp.int32),
        load_balancing_loss=jnp.zeros(()),
    )


def _no_choices(layers: int, x: Float[Array, "b h w c"]) -> Routing:
    """Returns the record of all blocks of a network without mixtures."""
    records = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[_no_choice(x)] * layers)
    return dataclasses.replace(records, load_balancing_loss=jnp.zeros(()))


def _check_input(
    config: ARMoEWConfig,
    x: Float[Array, "b h w c"],
    expert: int | Int[Array, "l b *n"] | Int[np.ndarray, "l b *n"] | None,
    quality: Float[Array, " images"] | None,
    steps: Float[Array, "images frequencies"] | None,
) -> None:
    batch, channels = x.shape[0], x.shape[3]
    require(
        channels == config.in_chans, "images' channels", channels, f"in_chans={config.in_chans}"
    )
    if quality is not None:
        require(bool(config.quality_range), "quality", quality, "None without a quality_range")
        require(quality.shape == (batch,), "quality's shape", quality.shape, f"{(batch,)}")
    if steps is not None:
        require(bool(config.quality_range), "steps", steps, "None without a quality_range")
        require(steps.shape == (batch, 64), "steps' shape", steps.shape, f"{(batch, 64)}")
    if expert is None:
        return
    count = len(config.experts)
    if isinstance(expert, int):
        require(0 <= expert < count, "expert", expert, f"below {count}: {config.experts}")
    else:
        shape = (config.num_layers, batch)
        side = config.window * config.stride
        rows, columns = (-(-n // config.alignment) * config.alignment // side for n in x.shape[1:3])
        shapes = (shape, (*shape, rows * columns))
        allowed = f"(layers, images) or (layers, images, windows), one of {shapes}"
        require(expert.shape in shapes, "expert's shape", expert.shape, allowed)
