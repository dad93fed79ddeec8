"""Looking inside a network: which experts it takes, how it filters, what an output depends on."""

import csv
import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from armoe_jax.evaluation.windowed import counts, most_taken
from armoe_jax.models import ARMoEConfig
from armoe_jax.models.moe import TO_K_INPUT
from armoe_jax.models.routing import count_choices
from armoe_jax.restore.canvas import to_unit

Forward = Callable[[Float[Array, "b h w c"]], Float[Array, "b hs ws c"]]


@dataclasses.dataclass(frozen=True)
class ExpertUsage:
    """Which expert each layer took for each image.

    Attributes:
        expert_names: Names of the experts.
        image_names: Names of the images.
        expert: Index of the expert, (layers, images); where windows choose, of the one that most
            windows of the image took.
        windows: Where windows choose: how many of each image took each expert.
    """

    expert_names: tuple[str, ...]
    image_names: tuple[str, ...]
    expert: Int[np.ndarray, "l b"]
    windows: Int[np.ndarray, "l b e"] | None = None

    @property
    def counts(self) -> Int[np.ndarray, "l e"]:
        """Images (windows) of every layer that went to every expert."""
        if self.windows is not None:
            return self.windows.sum(axis=1)
        return np.asarray(count_choices(self.expert, len(self.expert_names)))

    @property
    def shares(self) -> Float[np.ndarray, "l e"]:
        """`counts` over the number of images (windows)."""
        counts = self.counts
        return counts / counts.sum(axis=1, keepdims=True)

    def to_csv(self) -> str:
        """Returns a table: a row for each layer, with the share of every expert."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["layer", *self.expert_names])
        for layer, row in enumerate(self.shares):
            writer.writerow([layer, *(f"{share:.4f}" for share in row)])
        return buffer.getvalue()


def expert_usage(restorer: Any, images: Iterable[tuple[str, NDArray[Any]]]) -> ExpertUsage:
    """Runs images, whole, through a network and records its choices.

    Args:
        restorer: An `armoe_jax.Restorer`.
        images: (name, uint8 or uint16 picture) pairs; (H, W, 3) or, for a gray network, (H, W).

    Raises:
        ValueError: If there are no images, or the network has no experts.
    """
    names, columns = [], []
    for name, image in images:
        _, routing = restorer.apply(_unit(image)[None], return_routing=True)
        names.append(name)
        columns.append(np.asarray(routing.expert))
    experts = tuple(restorer.config.experts)
    if not names or not experts:
        raise ValueError(f"{len(names)} images and {len(experts)} experts: nothing to record")
    taken = [most_taken(column, len(experts)) for column in columns]
    windows = None
    if columns[0].ndim == 3:
        windows = np.concatenate([counts(column, len(experts)) for column in columns], axis=1)
    return ExpertUsage(experts, tuple(names), np.concatenate(taken, axis=1), windows)


def decay_exponents(
    config: ARMoEConfig, variables: Mapping[str, Any]
) -> Float[np.ndarray, "layers c"]:
    """Returns k of every layer: its spectra are weighted by D^k[c], D = exp(-(u^2 + v^2)).

    k[c] = ReLU(5 sum_j W[j, c] + b[c]) is a constant of the weights, not of the image.

    Raises:
        ValueError: If the network has no experts, and therefore no decay.
    """
    if not config.experts:
        raise ValueError("a network without experts has no decay")
    layers = []
    for group, depth in enumerate(config.depth):
        for block in range(depth):
            dense = variables["params"][f"group_{group}"][f"block_{block}"]["moe"]["to_k"]
            kernel, bias = np.asarray(dense["kernel"]), np.asarray(dense["bias"])
            layers.append(np.maximum(TO_K_INPUT * kernel.sum(axis=0) + bias, 0))
    return np.stack(layers)


def decay_maps(
    config: ARMoEConfig, variables: Mapping[str, Any], *, size: int = 32
) -> Float[np.ndarray, "layers size size"]:
    """Returns D^k over vertical and horizontal frequency, mean over channels, in [0, 1].

    Frequencies run from 0 (top left) to just under pi in `size` steps.

    Source: architecture.md section 6.
    """
    k = decay_exponents(config, variables)
    frequency = np.linspace(0, np.pi, size, endpoint=False)
    squares = frequency[:, None] ** 2 + frequency[None, :] ** 2
    return np.stack([np.exp(-squares[..., None] * row).mean(axis=-1) for row in k])


@dataclasses.dataclass(frozen=True)
class Attribution:
    """What a patch of an output depends on.

    Attributes:
        map: Attribution of every input pixel, absolute values summed over channels; (H, W).
        patch: (top, left, size) of the patch in output pixels.
        diffusion_index: 100 (1 - Gini coefficient of `map`): 100 if all pixels take part
            equally, near 0 if one does.
        change: Detector of the image minus detector of the fully blurred image.
        completeness: Sum of signed attributions over `change`; 1 for infinitely many steps.
    """

    map: Float[np.ndarray, "h w"]
    patch: tuple[int, int, int]
    diffusion_index: float
    change: float
    completeness: float


def local_attribution(
    forward: Forward,
    image: NDArray[Any],
    *,
    patch: tuple[int, int, int] | None = None,
    sigma: float = 1.2,
    steps: int = 50,
) -> Attribution:
    """Attributes the local structure that a network restores to pixels of its input.

    A detector D sums the magnitudes of the output's gradients in a patch: D answers "how much
    edge and texture is there". The input is taken along a path from blurred to sharp,

        g(t) = Gaussian blur of the image with standard deviation sigma (1 - t),   0 <= t <= 1

    which removes structure without putting in colours or edges that the image has not. The
    attribution of a pixel is its part in the change of D along the path,

        A_i = integral of  dD(F(g))/dg_i  dg_i/dt  dt
            ~ sum over k of  dD(F(g))/dg_i at t_k  times  (g_i(t_k + h/2) - g_i(t_k - h/2)),

    here with midpoints t_k and h = 1/steps, so that the signed A sum to D(F(image)) -
    D(F(blurred)). With G the Gini coefficient of |A|, the diffusion index is (1 - G) 100.

    Differs: the paper evaluates at left ends of the steps; midpoints converge faster.

    Args:
        forward: Differentiable map of float32 images in [0, 1], for example `restorer.apply`;
            hold the experts fixed along the path with `fixed_routing`.
        image: uint8, uint16 or float32 in [0, 1], (H, W, C) or (H, W).
        patch: (top, left, size) in output pixels; the middle 16 pixels by default.
        sigma: Standard deviation of the strongest blur, in pixels.
        steps: Number of steps.

    Raises:
        ValueError: If the patch is not inside the output, or steps or sigma are not positive.

    Source: Gu and Dong, "Interpreting Super-Resolution Networks with Local Attribution Maps",
        CVPR 2021.
    """
    if steps < 1 or sigma <= 0:
        raise ValueError(f"steps={steps}, sigma={sigma}: both must be positive")
    x = jnp.asarray(_unit(image))[None]
    size = jax.eval_shape(forward, x).shape[1:3]
    top, left, side = patch = _checked_patch(patch, size)

    def detector(x: Any) -> Any:
        y = forward(x)[0, top : top + side, left : left + side].mean(axis=-1)
        return structure(y)

    signed, change = _along_blurs(detector, x, sigma=sigma, steps=steps)
    magnitude = np.abs(np.asarray(signed[0], np.float64)).sum(axis=-1)
    return Attribution(
        map=magnitude,
        patch=patch,
        diffusion_index=diffusion_index(magnitude),
        change=change,
        completeness=float(signed.sum()) / change if change else float("nan"),
    )


def _along_blurs(detector: Forward, x: Any, *, sigma: float, steps: int) -> tuple[Any, float]:
    """Returns the values' signed parts in a detector's change from blurred to sharp, and that."""

    def blurred(t: Any) -> Any:
        return gaussian_blur(x, sigma * (1 - t), sigma)

    @jax.jit
    def step(total: Any, middle: Any) -> Any:
        half = 0.5 / steps
        gradient = jax.grad(detector)(blurred(middle))
        return total + gradient * (blurred(middle + half) - blurred(middle - half))

    signed = jnp.zeros_like(x)
    for middle in (np.arange(steps) + 0.5) / steps:
        signed = step(signed, jnp.float32(middle))
    ends = jax.jit(detector)
    return signed, float(ends(x) - ends(blurred(jnp.float32(0))))


def fixed_routing(restorer: Any, image: NDArray[Any]) -> Forward:
    """Returns the network with the experts that it takes for an image, whatever the input.

    Which expert is taken is a step function of the input; its gradient is 0 or undefined.
    """
    expert = None
    if restorer.config.experts:
        _, routing = restorer.apply(_unit(image)[None], return_routing=True)
        expert = np.asarray(routing.expert)
    return lambda x: restorer.apply(x, expert=expert)


def diffusion_index(attribution: NDArray[np.floating]) -> float:
    """Returns 100 (1 - G), G the Gini coefficient of the absolute values.

    With the n values in rising order, G = sum_i (2 i - n - 1) a_i / (n sum_i a_i), i from 1.
    All zero counts as equal: 100.
    """
    values = np.sort(np.abs(np.asarray(attribution, np.float64)).ravel())
    total = values.sum()
    if total == 0:
        return 100.0
    rank = np.arange(1, values.size + 1)
    gini = ((2 * rank - values.size - 1) * values).sum() / (values.size * total)
    return float(100 * (1 - gini))


def structure(y: Float[Array, "h w"]) -> Float[Array, ""]:
    """Sums the magnitudes of horizontal and vertical differences between neighbours."""
    return jnp.abs(y[:, 1:] - y[:, :-1]).sum() + jnp.abs(y[1:] - y[:-1]).sum()


def gaussian_blur(
    x: Float[Array, "b h w c"], sigma: float | Float[Array, ""], max_sigma: float
) -> Float[Array, "b h w c"]:
    """Blurs with a Gaussian, the image mirrored at its edges; sigma may be traced, and 0.

    Args:
        x: Images.
        sigma: Standard deviation in pixels, at most `max_sigma`.
        max_sigma: Sets the number of taps (four standard deviations to each side).
    """
    radius = int(np.ceil(4 * max_sigma))
    distance = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    weights = jnp.exp(-0.5 * (distance / jnp.maximum(sigma, 1e-3)) ** 2)
    weights = weights / weights.sum()
    for axis in (1, 2):
        x = _filter(x, weights, axis, radius)
    return x


def _filter(x: Any, weights: Any, axis: int, radius: int) -> Any:
    indices = np.arange(-radius, x.shape[axis] + radius)
    length = x.shape[axis]
    folded = indices % (2 * length)
    mirrored = np.where(folded < length, folded, 2 * length - 1 - folded)
    padded = jnp.take(x, mirrored, axis=axis)
    shifted = (
        jax.lax.slice_in_dim(padded, k, k + length, axis=axis) for k in range(2 * radius + 1)
    )
    return sum(weights[k] * part for k, part in enumerate(shifted))


def _checked_patch(patch: tuple[int, int, int] | None, size: Sequence[int]) -> tuple[int, int, int]:
    if patch is None:
        side = min(16, *size)
        patch = ((size[0] - side) // 2, (size[1] - side) // 2, side)
    top, left, side = patch
    fits = top >= 0 and left >= 0 and top + side <= size[0] and left + side <= size[1]
    if side < 2 or not fits:
        raise ValueError(
            f"patch {patch} (top, left, size) is not inside the output of {size[0]}x{size[1]} "
            "pixels, or smaller than 2"
        )
    return patch


def _unit(image: NDArray[Any]) -> Float[np.ndarray, "h w c"]:
    """Returns an image as float32 (H, W, C) in [0, 1]."""
    image = to_unit(np.asarray(image)).astype(np.float32)
    return image[..., None] if image.ndim == 2 else image
