"""Small networks for the tests of restoration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.models import ARMoEConfig, build_model

TINY = ARMoEConfig(
    embed_dim=32,
    depth=(2,),
    num_heads=(2,),
    mlp_ratio=1.0,
    split_size=(4, 4),
    experts=("haar", "swt"),
)


def random_variables(config, seed=0):
    """Weights drawn without running the network; gates differ from image to image."""
    x = jax.ShapeDtypeStruct((1, 8, 8, config.in_chans), jnp.float32)
    shapes = jax.eval_shape(build_model(config).init, jax.random.key(0), x)
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            return np.ones(leaf.shape, np.float32)
        spread = 0.3 if len(leaf.shape) < 2 else 1 / np.sqrt(np.prod(leaf.shape[:-1]))
        return rng.normal(0, spread, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture(scope="package")
def make_variables():
    """Random weights for a config."""
    return random_variables


@pytest.fixture(scope="package")
def tiny():
    """Config and weights of an RGB network."""
    return TINY, random_variables(TINY)


@pytest.fixture(scope="package")
def identity():
    """A network without tail, which returns its input: compiles in no time."""
    config = ARMoEConfig(embed_dim=32, depth=(1,), num_heads=(2,), split_size=(4, 4), upsampler="")
    return config, random_variables(config)


@pytest.fixture(scope="package")
def doubling():
    """A network of two times the size that is bicubic upscaling: its tail is zero."""
    config = ARMoEConfig(
        embed_dim=32,
        depth=(1,),
        num_heads=(2,),
        split_size=(4, 4),
        upsampler="lightSR",
        experts=(),
        global_skip=True,
    )
    variables = random_variables(config)
    tail = variables["params"]["upsample"]
    variables["params"]["upsample"] = jax.tree.map(np.zeros_like, tail)
    return config, variables
