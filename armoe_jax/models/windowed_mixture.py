"""A mixture of frequency experts that each window chooses from.

Axes: p pixels of a window, b images, n windows of an image, c channels, e experts, k slots or
shells, g bands of a frame, m channels between an expert's two mixings.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from armoe_jax.experts import FRAMES
from armoe_jax.models import routing
from armoe_jax.models.layers import Dense
from armoe_jax.models.routing import Choice, Routing
from armoe_jax.models.window_dispatch import by_blocks, by_slots, weighted
from armoe_jax.ops.frames import Frame, from_windows, to_windows
from armoe_jax.ops.precision import wide
from armoe_jax.ops.shrinkage import shrink

GATE_HIDDEN = 32
"""Hidden width of the gate."""

START = 0.1
"""Size of an expert's untrained output relative to its input."""

FIRST_THRESHOLD = -3.0
"""The softplus of it is the untrained threshold, 0.05."""


class FrequencyExpert(nn.Module):
    """Mixes the channels of each band, shrinks, mixes back: between a transform and its inverse.

    Attributes:
        frame: The transform of windows.
        width: Channels m between the two mixings.
        share: Whether the bands of a shell share their mixings.
        adapt: Whether thresholds and gains of bands follow the coding quality.
        dtype: Precision of matrix operands.
    """

    frame: Frame
    width: int
    share: bool = False
    adapt: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, windows: Float[Array, "p b n c"], position: Float[Array, " b"] | None = None
    ) -> Float[Array, "p b n c"]:
        """Returns what to add to windows, each by itself.

        Args:
            windows: Normalised features.
            position: Coding quality of each image, -1 for the mildest and 1 for the strongest.
        """
        p, b, n, c = windows.shape
        bands, m = self.frame.num_bands, self.width
        mixings = self.frame.num_shells if self.share else bands
        mix_in = self.param("mix_in", _near_identity, (mixings, c, m))
        spread = nn.initializers.normal(START * m**-0.5)
        mix_out = self.param("mix_out", spread, (mixings, m, c))
        mix_in, mix_out = (self._by_band(jnp.asarray(x, self.dtype)) for x in (mix_in, mix_out))
        matrix = jnp.asarray(self.frame.matrix, self.dtype)
        product = functools.partial(jnp.matmul, preferred_element_type=wide(windows.dtype))
        spectrum = product(matrix, windows.astype(self.dtype).reshape(p, b * n * c))
        spectrum = spectrum.reshape(bands, -1, c).astype(self.dtype)
        mixed = product(spectrum, mix_in).reshape(bands, -1, b, n, m)
        kept = self._shrunk(mixed, position).reshape(bands, -1, m)
        out = product(kept.astype(self.dtype), mix_out)
        out = out.reshape(-1, b * n * c).astype(self.dtype)
        return product(matrix.T, out).reshape(p, b, n, c).astype(windows.dtype)

    def _by_band(self, mixings: Float[Array, "k i o"]) -> Float[Array, "g i o"]:
        if not self.share:
            return mixings
        # Not by index, whose gradient would be a scatter.
        member = jax.nn.one_hot(jnp.asarray(self.frame.shells), len(mixings), dtype=mixings.dtype)
        return jnp.einsum("gk,kio->gio", member, mixings)

    def _shrunk(
        self, mixed: Float[Array, "g places b n m"], position: Float[Array, " b"] | None
    ) -> Float[Array, "g places b n m"]:
        bands, _, b, _, m = mixed.shape
        threshold = self.param("threshold", nn.initializers.constant(FIRST_THRESHOLD), (bands, m))
        threshold = threshold.reshape(bands, 1, 1, 1, m)
        if not self.adapt:
            return shrink(mixed, jax.nn.softplus(threshold).astype(mixed.dtype))
        slopes = [
            self.param(name, nn.initializers.zeros, (bands, m)).reshape(bands, 1, 1, 1, m)
            for name in ("threshold_slope", "gain_slope")
        ]
        strength = jnp.zeros(b) if position is None else position
        steeper, larger = (slope * strength.reshape(1, 1, -1, 1, 1) for slope in slopes)
        kept = shrink(mixed, jax.nn.softplus(threshold + steeper).astype(mixed.dtype))
        return kept * (1.0 + larger).astype(mixed.dtype)


class WindowedMixture(nn.Module):
    """Adds to each window what the expert of its choice makes of it.

    Attributes:
        experts: Names out of FRAMES.
        expert_dim: Channels between an expert's two mixings.
        window: Side of a window.
        share_mixings: Whether bands of about one frequency share mixings.
        adapt: Whether thresholds and gains of bands follow the coding quality.
        route: "window" or "image": what chooses.
        dispatch: Training: "capacity" serves at most `capacity_factor` times an equal share of an
            image's windows by each expert, and leaves the others as they are; "dense" runs all
            experts on all windows and weighs them by their probabilities.
        capacity_factor: See `dispatch`.
        dtype: Precision of matrix operands.
    """

    experts: tuple[str, ...]
    expert_dim: int
    window: int
    share_mixings: bool = False
    adapt: bool = False
    route: str = "window"
    dispatch: str = "capacity"
    capacity_factor: float = 1.25
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        position: Float[Array, " b"] | None,
        *,
        train: bool = False,
        expert: int | Int[Array, "b *n"] | None = None,
        noise: Float[Array, "b e"] | None = None,
    ) -> tuple[Float[Array, "b h w c"], Routing]:
        """Returns features of the same shape and what the gates decided.

        Args:
            x: Features whose sides are multiples of the window.
            position: Coding quality of each image, -1 for the mildest and 1 for the strongest; None
                for networks that know none.
            train: Uses the dispatch of the attribute; otherwise nothing is dropped.
            expert: Forces an expert: everywhere (int), image by image, or window by window.
            noise: Added to the logits of all windows of an image.
        """
        _, h, w, _ = x.shape
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        size = jnp.sqrt(jnp.mean(jnp.square(x.astype(wide(x.dtype))), axis=-1, keepdims=True))
        normal = (x / (size + 1e-3) * scale.reshape(1, 1, 1, -1)).astype(x.dtype)
        size = size.astype(x.dtype)
        windows = to_windows(normal, self.window)
        choice = self._choose(windows, size, position, expert, noise)
        out, dropped = self._mix(windows, position, choice, train=train, expert=expert)
        y = x + from_windows(out, h, w) * size
        record = Routing(
            expert=choice.expert,
            logits=choice.logits,
            dropped=dropped,
            load_balancing_loss=routing.load_balancing_loss(choice),
        )
        return y, record

    def _choose(
        self,
        windows: Float[Array, "p b n c"],
        size: Float[Array, "b h w 1"],
        position: Float[Array, " b"] | None,
        expert: int | Int[Array, "b *n"] | None,
        noise: Float[Array, "b e"] | None,
    ) -> Choice:
        b, n = windows.shape[1:3]
        if len(self.experts) == 1:  # there is nothing to choose, and no gate
            return routing.choose(jnp.zeros((b, n, 1)), None, jnp.zeros((b, n), jnp.int32))
        amplitude = to_windows(size, self.window)
        seen = [
            windows.mean(axis=0),
            jnp.log(amplitude.mean(axis=0) + 1e-3),
            jnp.log(windows.var(axis=0).mean(axis=-1, keepdims=True) + 1e-3),
        ]
        if position is not None:
            seen.append(jnp.broadcast_to(position[:, None, None], (b, n, 1)))
        seen = jnp.concatenate(seen, axis=-1).astype(wide(windows.dtype))
        if self.route == "image":
            seen = jnp.broadcast_to(seen.mean(axis=1, keepdims=True), seen.shape)
        hidden = nn.relu(Dense(GATE_HIDDEN, name="gate0")(seen))
        logits = Dense(len(self.experts), name="gate1")(hidden)
        noise = None if noise is None else noise[:, None, :]
        forced = None
        if expert is not None:
            index = jnp.asarray(expert, jnp.int32)
            forced = jnp.broadcast_to(index if index.ndim == 2 else index.reshape(-1, 1), (b, n))
        return routing.choose(logits, noise, forced)

    def _mix(
        self,
        windows: Float[Array, "p b n c"],
        position: Float[Array, " b"] | None,
        choice: Choice,
        *,
        train: bool,
        expert: int | Int[Array, "b *n"] | None,
    ) -> tuple[Float[Array, "p b n c"], Int[Array | np.ndarray, ""]]:
        experts = self._functions(windows)
        none_dropped = jnp.zeros((), jnp.int32)
        if len(experts) == 1:
            return experts[0](windows, position), none_dropped
        # Noise decides who is chosen, not how much: there is none at inference, where a hesitant
        # gate's experts would put out half of what they were trained to.
        weights = jax.nn.softmax(choice.logits)
        if train and self.dispatch == "dense":
            return weighted(experts, windows, position, weights), none_dropped
        share = jnp.take_along_axis(weights, choice.expert[..., None], axis=-1)
        share = share[None].astype(windows.dtype)
        if train:
            slots = routing.capacity(windows.shape[2], len(self.experts), self.capacity_factor)
            out, dropped = by_slots(experts, windows, position, choice.expert, slots)
            return out * share, dropped.sum().astype(jnp.int32)
        if isinstance(expert, int):
            return experts[expert](windows, position) * share, none_dropped
        return by_blocks(experts, windows, position, choice.expert) * share, none_dropped

    def _functions(self, windows: Float[Array, "p b n c"]):
        """Returns the experts as pure functions: modules must not be called inside a branch."""
        p, _, _, c = windows.shape
        example = jnp.zeros((p, 1, 1, c), windows.dtype)
        functions = []
        for name in self.experts:
            module = FrequencyExpert(
                FRAMES[name](self.window),
                self.expert_dim,
                share=self.share_mixings,
                adapt=self.adapt,
                dtype=self.dtype,
                parent=None,
            )
            params = self.param(name, lambda key, m=module: dict(m.init(key, example)["params"]))
            functions.append(jax.tree_util.Partial(module.apply, {"params": params}))
        return functions


def _near_identity(key: Array, shape: tuple[int, ...]) -> Array:
    """Channel i goes to channel i, if there are as many, and a little of every other."""
    _, c, m = shape
    return jnp.eye(c, m)[None] + 0.05 * jax.random.normal(key, shape)
