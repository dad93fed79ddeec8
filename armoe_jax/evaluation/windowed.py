"""Looking inside a network whose windows choose experts: where, at what thresholds, what for."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray

from armoe_jax.metrics import psnr
from armoe_jax.models import ARMoEWConfig
from armoe_jax.models.routing import count_choices
from armoe_jax.restore.canvas import to_unit

EXPERT_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
"""One an expert, in pictures and charts. Source: Okabe and Ito, told apart by all kinds of eyes."""

OPACITY = 0.45
"""Of the colours that are laid over a picture."""

Image = UInt8[np.ndarray, "h w c"] | UInt8[np.ndarray, "h w"]


@dataclasses.dataclass(frozen=True)
class WindowChoices:
    """Which expert each window of an image took.

    Attributes:
        expert_names: Names of the experts.
        expert: Index of the expert, by layer, row and column of windows.
        side: Height and width of a window in pixels of the image.
    """

    expert_names: tuple[str, ...]
    expert: Int[np.ndarray, "layers rows columns"]
    side: int

    @property
    def shares(self) -> Float[np.ndarray, "layers e"]:
        """Share of the windows of each layer that took each expert."""
        windows = self.expert.reshape(len(self.expert), -1)
        return np.asarray(count_choices(windows, len(self.expert_names))) / windows.shape[1]

    def drawn_over(self, image: Image, layer: int) -> UInt8[np.ndarray, "h w 3"]:
        """Returns the image in gray, each window tinted by the colour of its expert.

        Args:
            image: The image that the choices belong to.
            layer: Which layer's choices.
        """
        gray = image.astype(np.float64) if image.ndim == 2 else image.mean(axis=-1)
        colors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in EXPERT_COLORS])
        tints = colors[self.expert[layer] % len(EXPERT_COLORS)]
        tints = tints.repeat(self.side, axis=0).repeat(self.side, axis=1)
        tints = tints[: gray.shape[0], : gray.shape[1]]
        return np.rint((1 - OPACITY) * gray[..., None] + OPACITY * tints).astype(np.uint8)


def window_choices(restorer: Any, image: Image) -> WindowChoices:
    """Runs an image, whole, through a network and records what its windows choose.

    Args:
        restorer: An `armoe_jax.Restorer` of a network with a windowed mixture.
        image: uint8; (H, W, 3) or, for a gray network, (H, W).

    Raises:
        ValueError: The network's windows do not choose.
    """
    config = _windowed(restorer.config)
    height, width = image.shape[:2]
    x = to_unit(image).reshape(1, height, width, -1)
    _, routing = restorer.apply(x, return_routing=True)
    side = config.window * config.stride
    # The network itself pads the image to its alignment, at the right and at the bottom.
    columns = -(-width // config.alignment) * config.alignment // side
    expert = np.asarray(routing.expert)[:, 0].reshape(config.num_layers, -1, columns)
    seen = expert[:, : -(-height // side), : -(-width // side)]
    return WindowChoices(config.experts, seen, side)


def thresholds(
    config: ARMoEWConfig, variables: Mapping[str, Any], position: float = 0.0
) -> dict[str, Float[np.ndarray, "layers bands"]]:
    """Returns each expert's thresholds by band, mean over channels.

    They are in units of the normalised features' coefficients. Bands are as the frame of the expert
    has them: for separable ones window x window frequencies, row by row.

    Args:
        config: Architecture.
        variables: Its weights.
        position: Coding quality, -1 for the mildest and 1 for the strongest that the network tells
            apart; changes nothing without `config.adapt_experts`.

    Raises:
        ValueError: The network has no windowed mixture.
    """
    _windowed(config)
    layers = [
        variables["params"]["group_0"][f"block_{layer}"]["moe"] for layer in range(config.depth)
    ]
    found = {}
    for name in config.experts:
        bias = np.stack([layer[name]["threshold"] for layer in layers])
        if config.adapt_experts:
            bias = bias + position * np.stack([layer[name]["threshold_slope"] for layer in layers])
        found[name] = np.asarray(jax.nn.softplus(jnp.asarray(bias))).mean(axis=-1)
    return found


def silenced(
    config: ARMoEWConfig, variables: Mapping[str, Any], expert: str | None = None
) -> dict[str, Any]:
    """Returns weights with which one expert, or all of them, adds nothing; choices stay.

    Choices of the first layer, that is: later ones look at features that the mixture changed.

    Args:
        config: Architecture.
        variables: Its weights, which are left as they are.
        expert: Which expert; None for all.

    Raises:
        ValueError: The network has no windowed mixture, or not that expert.
    """
    names = _windowed(config).experts
    if expert is not None and expert not in names:
        raise ValueError(f"expert is {expert!r}, expected one of {names}")
    group = dict(variables["params"]["group_0"])
    for layer in range(config.depth):
        block = dict(group[f"block_{layer}"])
        moe = dict(block["moe"])
        for name in names if expert is None else (expert,):
            moe[name] = dict(moe[name]) | {"mix_out": np.zeros_like(moe[name]["mix_out"])}
        group[f"block_{layer}"] = block | {"moe": moe}
    return dict(variables) | {"params": dict(variables["params"]) | {"group_0": group}}


def gains_when_silenced(restorer: Any, pairs: Iterable[tuple[Image, Image]]) -> dict[str, float]:
    """Returns the mean gain in PSNR-Y, dB, of the network and of what is left of it.

    Args:
        restorer: An `armoe_jax.Restorer` of a network with a windowed mixture.
        pairs: (coded, original) images of equal size.

    Returns:
        "whole": the network's own gain; "mixture": with all experts silent; and for each expert's
        name the gain with that one silent.

    Raises:
        ValueError: There are no pairs, or the network has no windowed mixture.
    """
    config, variables = _windowed(restorer.config), restorer.variables
    networks = {"whole": restorer}
    networks["mixture"] = restorer.with_variables(silenced(config, variables))
    for name in config.experts:
        networks[name] = restorer.with_variables(silenced(config, variables, name))
    gains: dict[str, list[float]] = {name: [] for name in networks}
    for coded, original in pairs:
        before = psnr(coded, original)
        for name, network in networks.items():
            gains[name].append(psnr(network(coded), original) - before)
    if not gains["whole"]:
        raise ValueError("no pairs of images to restore")
    return {name: float(np.mean(values)) for name, values in gains.items()}


def most_taken(expert: NDArray[np.integer], num_experts: int) -> Int[np.ndarray, "l b"]:
    """Returns the expert of each layer and image: where windows choose, that of most of them.

    Args:
        expert: `Routing.expert`.
        num_experts: Experts to choose from.
    """
    return expert if expert.ndim == 2 else counts(expert, num_experts).argmax(-1).astype(np.int32)


def counts(expert: NDArray[np.integer], num_experts: int) -> Int[np.ndarray, "l b e"]:
    """Returns how often each expert was taken in each layer and image."""
    layers, images = expert.shape[:2]
    windows = expert.reshape(layers * images, -1)
    taken = np.asarray(count_choices(windows, num_experts))
    return taken.reshape(layers, images, num_experts)


def _windowed(config: Any) -> ARMoEWConfig:
    if not isinstance(config, ARMoEWConfig) or not config.experts:
        raise ValueError(
            f"this network (mixture={config.mixture!r}, experts={config.experts}) has no experts "
            "that windows choose"
        )
    return config
