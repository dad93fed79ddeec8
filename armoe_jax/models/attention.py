"""Window self-attention with two orientations of one window, and a local depthwise branch."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from armoe_jax.models.layers import Dense, DepthwiseConv, LayerNorm
from armoe_jax.ops import windows
from armoe_jax.ops.attention import window_attention


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
        x = Dense(self.dim, name="proj")(jnp.asarray(windows.relative_offsets(self.window)))
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
        shifted: bool | Int[Array, ""],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "b h w c"]:
        """Attends within windows, moved by half their size if `shifted` (0 or 1 if traced)."""
        _, height, width, c = x.shape
        qkv = Dense(3 * c, use_bias=self.qkv_bias, dtype=self.dtype, name="qkv")(x)
        local = DepthwiseConv(name="local_conv")(qkv[..., 2 * c :])
        multiple = math.lcm(*self.window)
        qkv = windows.pad_bottom_right(
            qkv, windows.padded_size(height, multiple), windows.padded_size(width, multiple)
        )
        branches = [
            self._branch(qkv, branch, shifted, deterministic=deterministic) for branch in (0, 1)
        ]
        attended = jnp.concatenate(branches, axis=-1)[:, :height, :width] + local
        out = Dense(c, dtype=self.dtype, name="proj")(attended)
        return nn.Dropout(self.drop_rate, deterministic=deterministic)(out)

    @nn.nowrap
    def _scale(self, head_dim: int) -> float:
        return self.qk_scale if self.qk_scale else head_dim**-0.5

    def _branch(
        self,
        qkv: Float[Array, "b hp wp c3"],
        branch: int,
        shifted: bool | Int[Array, ""],
        *,
        deterministic: bool,
    ) -> Float[Array, "b hp wp half"]:
        b, height, width, c3 = qkv.shape
        half = c3 // 6
        window = self.window if branch == 0 else self.window[::-1]
        heads = self.num_heads // 2
        bias = PositionBias(window, half // 16, heads, name=f"pos_bias_{branch}")()

        x = qkv.reshape(b, height, width, 3, 2, half)[:, :, :, :, branch].reshape(
            b, height, width, 3 * half
        )
        shift = (window[0] // 2, window[1] // 2)
        x = windows.roll(x, (shift[0] * shifted, shift[1] * shifted))
        x = windows.partition(x, window)
        x = x.reshape(*x.shape[:3], 3, heads, half // heads).transpose(3, 0, 1, 4, 2, 5)
        labels = None
        if not (isinstance(shifted, bool) and not shifted):
            labels = jnp.asarray(windows.region_labels(height, width, window)) * shifted
        out = window_attention(
            x[0] * self._scale(half // heads),
            x[1],
            x[2],
            bias,
            labels,
            self._attention_dropout(x[0], deterministic=deterministic),
        )
        out = out.swapaxes(2, 3).reshape(b, -1, window[0] * window[1], half)
        out = windows.merge(out, window, height, width)
        return windows.roll(out, (-shift[0] * shifted, -shift[1] * shifted))

    def _attention_dropout(
        self, q: Float[Array, "b windows m n d"], *, deterministic: bool
    ) -> Float[Array, "b windows m n n"] | None:
        if deterministic or self.attn_drop_rate == 0:
            return None
        keep = 1.0 - self.attn_drop_rate
        shape = (*q.shape[:-1], q.shape[-2])
        return jax.random.bernoulli(self.make_rng("dropout"), keep, shape) / keep
