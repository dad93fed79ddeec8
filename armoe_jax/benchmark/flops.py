"""Floating-point operations of a forward pass, counted by hand from the architecture.

XLA's own analysis cannot serve: it counts the body of a scan once.
"""

from armoe_jax.experts import FRAMES
from armoe_jax.models.armoe import TAIL_DIM
from armoe_jax.models.build import AnyConfig
from armoe_jax.models.config import ARMoEConfig
from armoe_jax.models.windowed_config import ARMoEWConfig

TRAINING_FACTOR = 3
"""A training step relative to a forward pass: every product has two gradients, each as costly.

What rematerialisation computes a second time is not useful work, and not counted.
"""


def useful_flops(config: AnyConfig, height: int, width: int) -> int:
    """Returns what restoring one image takes, 2 a multiply-add: its products and convolutions.

    Not counted, so that shares of a machine's rate that follow from this are at the low end: the
    released experts (the gate decides which run, and each has several forms; of windowed ones all
    windows count as sent to the cheapest), the gates, position biases, norms, activations, and the
    bicubic of a global skip.

    Args:
        config: Architecture.
        height: Rows of the input.
        width: Columns of the input.

    Source:
        architecture.md sections 2 to 8.
    """
    c = config
    if isinstance(c, ARMoEWConfig):
        return 2 * height * width * _windowed_madds(c)
    if not c.upsampler:
        return 0  # The input comes back.
    ends = conv_madds(c.in_chans, c.embed_dim) + _residual_conv(c) + _tail(c)
    groups = len(c.depth) * _residual_conv(c) + c.num_layers * block_madds(c)
    return 2 * height * width * (ends + groups)


def block_madds(config: ARMoEConfig) -> int:
    """Returns the multiply-adds of one block for one pixel."""
    c = config.embed_dim
    tokens = config.split_size[0] * config.split_size[1]
    depthwise = 9 * c
    # A token meets all tokens of its window, twice (logits and values), in every channel.
    attention = 3 * c * c + depthwise + 2 * tokens * c + c * c
    mixture = depthwise + 2 * c * c + c * c
    half = config.hidden_dim // 2
    feed_forward = c * config.hidden_dim + 9 * half + half * c
    return attention + mixture + 2 * feed_forward


def _windowed_madds(config: ARMoEWConfig) -> int:
    """Returns the multiply-adds of convolutions, and of the cheapest experts, for one pixel."""
    c, ends = config.embed_dim, config.in_chans * config.stride**2
    frames = [FRAMES[name](config.window).matrix.shape[0] for name in config.experts]
    rows = min(frames, default=0)  # coefficients of a window
    experts = 2 * rows * c + 2 * c * config.expert_dim * rows // config.window**2
    blocks = config.depth * (config.pairs * 2 * conv_madds(c, c) + experts)
    return (conv_madds(ends, c) + conv_madds(c, ends) + blocks) // config.stride**2


def conv_madds(fan_in: int, out: int, side: int = 3) -> int:
    """Returns the multiply-adds of a convolution for one pixel."""
    return side * side * fan_in * out


def _residual_conv(config: ARMoEConfig) -> int:
    c, quarter = config.embed_dim, config.embed_dim // 4
    if config.resi_connection == "1conv":
        return conv_madds(c, c)
    return conv_madds(c, quarter) + conv_madds(quarter, quarter, side=1) + conv_madds(quarter, c)


def _tail(config: ARMoEConfig) -> int:
    c, chans = config.embed_dim, config.in_chans
    if config.upsampler == "lightSR":
        return conv_madds(c, chans * config.upscale**2)
    return conv_madds(c, TAIL_DIM) + conv_madds(TAIL_DIM, chans)
