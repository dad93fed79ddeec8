"""Numbers, names and shapes of parameters."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

from armoe_jax.convert import rules_of, variable_shapes
from armoe_jax.models import VARIANTS, build_model

PUBLISHED = {"car": 25_607_479, "light_sr_x2": 845_028}


def shapes_of(config):
    """Shapes by path, from the network itself."""
    x = jax.ShapeDtypeStruct((2, 8, 8, config.in_chans), jnp.float32)
    tree = jax.eval_shape(build_model(config).init, jax.random.key(0), x)
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    assert all(leaf.dtype == jnp.float32 for _, leaf in flat)
    return {"/".join(key.key for key in path): leaf.shape for path, leaf in flat}


def as_lines(shapes):
    return [f"{path} {' '.join(map(str, shape))}" for path, shape in sorted(shapes.items())]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name):
    shapes = variable_shapes(rules_of(VARIANTS[name]))
    count = sum(math.prod(s) for path, s in shapes.items() if path.startswith("params/"))
    assert count == PUBLISHED[name]


@pytest.fixture(scope="module")
def light_two_blocks():
    return shapes_of(dataclasses.replace(VARIANTS["light_sr_x2"], depth=(2,)))


def test_paths_and_shapes_do_not_change(light_two_blocks, golden_dir):
    """Checkpoints are stored by these names: a change would make old ones unreadable."""
    stored = (golden_dir / "light_sr_x2_variables.txt").read_text().splitlines()
    first = {p: s for p, s in light_two_blocks.items() if "/block_1/" not in p}
    assert as_lines(first) == stored
    second = {
        p.replace("block_1", "block_0"): s for p, s in light_two_blocks.items() if "block_1" in p
    }
    assert as_lines(second) == [line for line in stored if "/block_0/" in line]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resi_connection": "3conv", "in_chans": 1, "qkv_bias": False},
        {"experts": ("swt", "fft"), "upsampler": "lightSR", "upscale": 3},
        {"experts": (), "upsampler": "", "mlp_ratio": 4.0},
    ],
)
def test_conversion_table_describes_the_network(changes):
    base = dataclasses.replace(VARIANTS["car"], depth=(1,), num_heads=(6,))
    config = dataclasses.replace(base, **changes)
    assert shapes_of(config) == variable_shapes(rules_of(config))


@pytest.mark.slow
def test_whole_light_network_has_the_published_size():
    shapes = shapes_of(VARIANTS["light_sr_x2"])
    count = sum(math.prod(s) for path, s in shapes.items() if path.startswith("params/"))
    assert count == PUBLISHED["light_sr_x2"]
