"""The network as compiled programs, one for each shape of batch."""

import copy
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from armoe_jax.models import AnyConfig, Network, build_model
from armoe_jax.models.quality_estimator import ESTIMATORS
from armoe_jax.models.stacking import stack_blocks, unstack_blocks
from armoe_jax.runtime.memory import return_freed_memory

FORCED = 1e9
"""Added to a gate's logit to make it win against any other logit and noise."""

NUM_STEPS = 64
"""Frequencies of a JPEG block."""

Shape = tuple[int, int, int]


class Programs:
    """Compiles the network ahead of time for each shape of batch, and runs it.

    Compiling ahead of running tells how much memory a program takes before it takes it.

    Args:
        config: Architecture.
        variables: "params" and, with experts, "batch_stats".
        dtype: Precision of matrix operands, "float32" or "bfloat16".
        sample: Draw experts with Gumbel noise instead of taking the largest logit.
        seed: Of that noise.
        quality: Coding quality of all images; None: the network estimates it, if it adapts to it.
    """

    def __init__(
        self,
        config: AnyConfig,
        variables: Mapping[str, Any],
        *,
        dtype: str,
        sample: bool,
        seed: int,
        quality: float | None = None,
    ):
        self._config = config
        self._quality = quality
        self._model = build_model(config, dtype=dtype)
        self._variables = jax.device_put(stack_blocks(variables, config))
        self._sample, self._seed = sample, seed
        self._jitted = jax.jit(self._forward)
        self._estimate = jax.jit(self._estimated)
        self._compiled: dict[Shape, jax.stages.Compiled] = {}

    @property
    def model(self) -> Network:
        """The Linen module."""
        return self._model

    @property
    def variables(self) -> Mapping[str, Any]:
        """The weights, one array per block, on the device."""
        return unstack_blocks(self._variables)

    @property
    def stacked_variables(self) -> Mapping[str, Any]:
        """The weights as the programs take them, see `armoe_jax.models.stacking`."""
        return self._variables

    def with_variables(self, variables: Mapping[str, Any]) -> "Programs":
        """Returns the same programs with other weights."""
        other = copy.copy(self)
        other._variables = jax.device_put(stack_blocks(variables, self._config))
        return other

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shapes (batch, height, width) compiled so far."""
        return tuple(self._compiled)

    @property
    def estimates(self) -> bool:
        """Whether the network estimates how strongly images were coded."""
        return bool(self._config.quality_range) and self._quality is None

    def estimate(self, x: np.ndarray) -> np.ndarray:
        """Returns what a network that `estimates` makes of images in [0, 1], float32, (B,)."""
        return np.asarray(self._estimate(self._variables, x))

    def no_bias(self) -> np.ndarray:
        """Returns the gate bias of one image that decides nothing, (L, E)."""
        return np.zeros((self._config.num_layers, len(self._config.experts)), np.float32)

    def forcing_bias(self, expert: np.ndarray) -> np.ndarray:
        """Returns the gate bias, (L, E), that makes each layer choose the given expert, (L,)."""
        return FORCED * np.eye(len(self._config.experts), dtype=np.float32)[expert]

    def run(
        self,
        x: np.ndarray,
        bias: np.ndarray,
        samples: np.ndarray,
        steps: np.ndarray | None = None,
        estimates: np.ndarray | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Runs the network on a batch.

        Args:
            x: Images in [0, 1], float32, (B, H, W, in_chans), W even.
            bias: Added to the gates' logits, float32, (L, B, E).
            samples: What the noise is drawn for: image and tile index, uint32, (B, 2).
            steps: Quantiser steps of JPEGs, float32, (B, 64), 0 where unknown; None: all unknown.
                Only networks with an interval head look at them.
            estimates: Of the images that x are parts of, float32, (B,), NaN where the network is to
                estimate from x; None: from x for all. Only networks that estimate look at them.

        Returns:
            The network's outputs, float32, (B, H * s, W * s, in_chans), not clipped, and the chosen
            experts, int32, (L, B), or (L, B, windows) where windows choose.
        """
        program = self.program((x.shape[0], x.shape[1], x.shape[2]))
        if steps is None:
            steps = np.zeros((x.shape[0], NUM_STEPS), np.float32)
        if estimates is None:
            estimates = np.full(x.shape[0], np.nan, np.float32)
        return program(self._variables, x, bias, samples, steps, estimates)

    def memory_bytes(self, shape: Shape) -> int:
        """Returns what running a batch takes beside the weights, by XLA's analysis; compiles it."""
        analysis: Any = self.program(shape).memory_analysis()
        pixels = shape[0] * shape[1] * shape[2]
        return analysis.temp_size_in_bytes + analysis.output_size_in_bytes + 4 * pixels * 3

    def program(self, shape: Shape) -> jax.stages.Compiled:
        """Returns the compiled network for batches of a shape (batch, height, width)."""
        if shape not in self._compiled:
            layers, experts = self._config.num_layers, len(self._config.experts)
            arguments = (
                jax.ShapeDtypeStruct((*shape, self._config.in_chans), jnp.float32),
                jax.ShapeDtypeStruct((layers, shape[0], experts), jnp.float32),
                jax.ShapeDtypeStruct((shape[0], 2), jnp.uint32),
                jax.ShapeDtypeStruct((shape[0], NUM_STEPS), jnp.float32),
                jax.ShapeDtypeStruct((shape[0],), jnp.float32),
            )
            return_freed_memory()  # such as the arrays that the weights were read into
            self._compiled[shape] = self._jitted.lower(self._variables, *arguments).compile()
            return_freed_memory()
        return self._compiled[shape]

    def _forward(
        self,
        variables: Mapping[str, Any],
        x: jax.Array,
        bias: jax.Array,
        samples: jax.Array,
        steps: jax.Array,
        estimates: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        layers, experts = self._config.num_layers, len(self._config.experts)
        coding = self.coding_of(x.shape[0], steps)
        if self.estimates:
            coding["estimate"] = estimates
        if not experts:
            y: Any = self._model.apply(variables, x, **coding)
            return y, jnp.zeros((layers, x.shape[0]), jnp.int32)
        if self._sample:
            bias = bias + gate_noise(self._seed, samples, layers, experts)
        result: Any = self._model.apply(
            variables, x, gate_noise=bias, return_routing=True, **coding
        )
        y, routing = result
        return y, routing.expert

    def _estimated(self, variables: Mapping[str, Any], x: jax.Array) -> jax.Array:
        estimator = ESTIMATORS[self._config.quality_estimator](self._config.quality_range)
        estimate: Any = estimator.apply({"params": variables["params"]["quality"]}, x)
        return estimate

    def coding_of(self, batch: int, steps: jax.Array | None) -> dict[str, Any]:
        """Returns what the network is told of how its images were coded, as keyword arguments."""
        told: dict[str, Any] = {}
        if self._quality is not None:
            told["quality"] = jnp.full((batch,), self._quality, jnp.float32)
        if self._config.interval_head and steps is not None:
            told["steps"] = steps
        return told


def gate_noise(seed: int, samples: jax.Array, num_layers: int, num_experts: int) -> jax.Array:
    """Draws Gumbel noise that depends on nothing but the seed, the image, the tile and the layer.

    Args:
        seed: Any integer.
        samples: Image and tile indices, uint32, (B, 2).
        num_layers: Blocks of the network.
        num_experts: Experts of each.

    Returns:
        float32, (num_layers, B, num_experts).
    """

    def one(layer: jax.Array, sample: jax.Array) -> jax.Array:
        key = jax.random.key(seed)
        for index in (sample[0], sample[1], layer):
            key = jax.random.fold_in(key, index)
        return jax.random.gumbel(key, (num_experts,), jnp.float32)

    over_batch = jax.vmap(one, in_axes=(None, 0))
    return jax.vmap(over_batch, in_axes=(0, None))(jnp.arange(num_layers), samples)
