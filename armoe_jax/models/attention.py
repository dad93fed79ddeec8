"""Window self-attention with two orientations of one window, and a local depthwise branch."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from armoe_jax.models.layers import Dense, DepthwiseConv, LayerNorm
from armoe_jax.ops import windows
from armoe_jax.ops.attention import attend_in_windows


class PositionBias(nn.Module):
    """A small network that maps offsets between tokens to one bias a head.

    With embed_dim below 64 its width is 1 (or 0), its layer norm then returns a constant, and the
    bias has no effect: so it is in the released light network. Source: architecture.md section 5.

    Attributes:
        window: Window height and width.
        dim: Width: half of embed_dim divided by 16.
        num_heads: Heads of this orientation.
    """

    window: tuple[int, int]
    dim: int
    num_heads: int

    @nn.compact
    def __call__(self) -> Float[Array, "m n n"]:
        """Returns the bias of every head and pair of tokens, query first."""
        x = Dense(self.dim, name="proj")(jnp.asarray(windows.relative_offsets(self.window), float))
        for j, features in enumerate((self.dim, self.dim, self.num_heads), start=1):
            x = nn.relu(LayerNorm(name=f"norm{j}")(x))
            x = Dense(features, name=f"dense{j}")(x)
        return windows.relative_bias(x, self.window)


class WindowAttention(nn.Module):
    """Self-attention in windows of s0 x s1 (first half of the channels) and s1 x s0 (second half).

    The image is padded with zeros at the bottom and right; padded tokens are not masked: they are
    keys with logit = position bias and value 0, as released. Source: architecture.md section 5.

    Attributes:
        num_heads: Heads of both orientations together.
        window: Window height and width of the first orientation.
        qkv_bias: Whether the projection has a bias.
        qk_scale: Factor of the logits; None or 0 for head_dim ** -0.5.
        drop_rate: Dropout after the output projection.
        attn_drop_rate: Dropout on attention probabilities.
        dtype: Precision of matrix operands.
    """

    num_heads: int
    window: tuple[int, int]
    qkv_bias: bool = True
    qk_scale: float | None = None
    drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        shifted: Int[Array, ""],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "b h w c"]:
        """Attends within windows, moved by half their size where `shifted` is 1 (else 0)."""
        _, height, width, c = x.shape
        qkv = Dense(3 * c, use_bias=self.qkv_bias, dtype=self.dtype, name="qkv")(x)
        local = DepthwiseConv(name="local_conv")(qkv[..., 2 * c :])
        multiple = math.lcm(*self.window)
        to_size = (windows.padded_size(height, multiple), windows.padded_size(width, multiple))
        attended = jax.lax.cond(
            shifted,
            functools.partial(self._attend, shift=True),
            functools.partial(self._attend, shift=False),
            windows.pad_bottom_right(qkv, *to_size),
            self._position_biases(c),
            self._dropout_key(deterministic=deterministic),
        )
        attended = attended[:, :height, :width] + local
        out = Dense(c, dtype=self.dtype, name="proj")(attended)
        return nn.Dropout(self.drop_rate, deterministic=deterministic)(out)

    @property
    def _windows(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The window of each half of the heads: as given, and turned."""
        rows, columns = self.window
        return (rows, columns), (columns, rows)

    def _position_biases(self, c: int) -> list[Float[Array, "m n n"]]:
        return [
            PositionBias(window, c // 32, self.num_heads // 2, name=f"pos_bias_{i}")()
            for i, window in enumerate(self._windows)
        ]

    def _dropout_key(self, *, deterministic: bool) -> PRNGKeyArray | None:
        if deterministic or self.attn_drop_rate == 0:
            return None
        return self.make_rng("dropout")

    @nn.nowrap
    def _attend(
        self,
        qkv: Float[Array, "b hp wp c3"],
        biases: list[Float[Array, "m n n"]],
        key: PRNGKeyArray | None,
        *,
        shift: bool,
    ) -> Float[Array, "b hp wp c"]:
        """Runs both orientations, each on its half of the channels."""
        half = qkv.shape[-1] // 6
        split = qkv.reshape(*qkv.shape[:3], 3, 2, half)
        outs = []
        for i, bias in enumerate(biases):
            window = self._windows[i]
            drop = None
            if key is not None:
                drop = (jax.random.fold_in(key, i), self.attn_drop_rate)
            scale = self.qk_scale if self.qk_scale else (half / bias.shape[0]) ** -0.5
            part = split[:, :, :, :, i].reshape(*qkv.shape[:3], 3 * half)
            outs.append(attend_in_windows(part, bias, window, scale=scale, shift=shift, drop=drop))
        return jnp.concatenate(outs, axis=-1)
