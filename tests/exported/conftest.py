"""A small network, its weights, and a file that holds it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.exported.writer import export_model, flatten
from armoe_jax.models import ARMoEConfig, build_model

TILE = 16


CONFIG = ARMoEConfig(
    embed_dim=32, depth=(2,), num_heads=(2,), mlp_ratio=2.0, split_size=(4, 8), upscale=1
)


def random_variables(config, tile=TILE):
    """Weights large enough for the gates to disagree between images."""
    x = jnp.zeros((1, tile, tile, config.in_chans))
    shapes = jax.eval_shape(build_model(config).init, jax.random.key(0), x)
    leaves, tree = jax.tree.flatten(shapes)
    rng = np.random.default_rng(0)
    values = [(0.3 * rng.standard_normal(s.shape)).astype(np.float32) for s in leaves]
    variables = jax.tree.unflatten(tree, values)
    for path, value in flatten(variables).items():
        if path.endswith("/var"):
            value[...] = np.abs(value) + 0.5
    return variables


@pytest.fixture(scope="package")
def variables():
    return random_variables(CONFIG)


@pytest.fixture(scope="package")
def file(tmp_path_factory, variables):
    path = tmp_path_factory.mktemp("export") / "tiny.armoe"
    export_model(path, CONFIG, variables, tile=TILE, provenance={"source": "test"})
    return path


@pytest.fixture(scope="package")
def config():
    """A network of two blocks, for tiles of 16x16 pixels."""
    return CONFIG


@pytest.fixture(scope="package")
def make_variables():
    """Random weights for a configuration."""
    return random_variables
