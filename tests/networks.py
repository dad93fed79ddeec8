"""Small networks for tests: released, windowed, for JPEG; and random weights for any."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from armoe_jax.models import ARMoEConfig, ARMoEWConfig, build_model

RELEASED = ARMoEConfig(
    embed_dim=32,
    depth=(1,),
    num_heads=(2,),
    mlp_ratio=1.0,
    split_size=(4, 4),
    experts=("haar", "swt"),
)

# A step of its training compiles in a tenth of the time that one of the other takes.
WINDOWED = ARMoEWConfig(
    embed_dim=8, depth=2, pairs=1, experts=("dct", "haar"), expert_dim=8, window=4
)

# What networks for JPEG are: one that looks at what files tell, and has no experts.
JPEG = dataclasses.replace(
    WINDOWED, depth=1, experts=(), quality_range=(0.0, 8.0), interval_head=True
)


def random_variables(config: Any, seed: int = 0) -> dict[str, Any]:
    """Draws weights without running the network; its branches and gates all matter."""
    x = jax.ShapeDtypeStruct((1, 8, 8, config.in_chans), jnp.float32)
    shapes = jax.eval_shape(build_model(config).init, jax.random.key(0), x)
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> jax.Array:
        if path[-1].key in ("scale", "var"):
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)
        spread = 0.3 if len(leaf.shape) < 2 else max(1, np.prod(leaf.shape[:-1])) ** -0.5
        return jnp.asarray(rng.normal(0, spread, leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)
