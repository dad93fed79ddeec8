"""What adapts programs to platforms."""

import jax
import jax.numpy as jnp
import numpy as np

from armoe_jax.ops.platform import SMALL, materialise_small


def test_materialise_small_is_the_identity_with_the_identitys_gradient():
    rng = np.random.default_rng(0)
    shapes = {"kernel": (3, 3, 1, 5), "bias": (5,), "scalar": (), "empty": (0, 4)}
    tree = {name: jnp.asarray(rng.normal(size=s), jnp.float32) for name, s in shapes.items()}
    # Too large to be handled.
    tree["large"] = jnp.arange(SMALL + 1.0)
    out, pull = jax.vjp(jax.jit(materialise_small), tree)
    jax.tree.map(np.testing.assert_array_equal, out, tree)
    doubled = jax.tree.map(lambda a: 2 * a, tree)
    jax.tree.map(np.testing.assert_array_equal, pull(doubled)[0], doubled)


def test_materialise_small_takes_a_tree_without_small_arrays():
    tree = {"large": jnp.ones(SMALL + 1), "nothing": {}}
    assert materialise_small(tree)["large"] is tree["large"]
