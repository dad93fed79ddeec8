"""Fingerprints of arrays, and arrays without elements."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.sharding import NamedSharding, PartitionSpec

from armoe_jax.checkpoints.arrays import (
    empty_shapes,
    fill_empty,
    fingerprint,
    restore_empty,
    with_empty_shapes,
)
from armoe_jax.training import sharding

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.int32, np.uint8, np.bool_]), hnp.array_shapes(max_side=5)
)


@settings(deadline=None, max_examples=25)
@given(ARRAYS, st.data())
def test_a_fingerprint_notices_any_change_of_one_element(array, data):
    index = data.draw(st.integers(0, array.size - 1))
    changed = array.copy()
    flat = changed.reshape(-1)
    if array.dtype == np.bool_:
        flat[index] = ~flat[index]
    else:
        bits = flat.view(f"u{array.dtype.itemsize}")
        bits[index] ^= np.asarray(
            1 << data.draw(st.integers(0, 8 * array.dtype.itemsize - 1)), bits.dtype
        )
    assert fingerprint([array]) != fingerprint([changed])


def test_a_fingerprint_does_not_depend_on_the_split():
    x = np.arange(48, dtype=np.float32).reshape(8, 6)
    mesh = sharding.make_mesh()
    split = jax.device_put(x, sharding.batch_sharding(mesh))
    assert fingerprint([x]) == fingerprint([split])


def test_a_fingerprint_by_hand():
    # Words 3, 5, 7 with factors 1, 3, 5: 3 + 15 + 35 = 53.
    assert fingerprint([np.array([3, 5, 7], np.int32)]) == [53]


def test_arrays_without_elements_are_filled_and_emptied_again():
    mesh = sharding.make_mesh()
    whole = NamedSharding(mesh, PartitionSpec())
    tree = {"bias": jnp.zeros((0, 24), jnp.float32), "w": jnp.arange(3, dtype=jnp.int32)}
    tree = jax.device_put(tree, whole)
    filled = fill_empty(tree)
    assert {name: leaf.shape for name, leaf in filled.items()} == {"bias": (1,), "w": (3,)}
    assert (filled["bias"].dtype, float(filled["bias"][0])) == (jnp.float32, 0.0)
    # Leaves are counted by name.
    assert empty_shapes(tree) == {"0": [0, 24]}
    for back in (restore_empty(filled, tree), with_empty_shapes(filled, empty_shapes(tree))):
        assert (back["bias"].shape, back["bias"].dtype) == ((0, 24), np.float32)
        np.testing.assert_array_equal(back["w"], [0, 1, 2])
    assert restore_empty(filled, tree)["bias"].sharding == tree["bias"].sharding
    assert isinstance(with_empty_shapes(filled, {})["w"], np.ndarray)


def test_shapes_alone_are_filled_alike():
    whole = NamedSharding(sharding.make_mesh(), PartitionSpec())
    tree = [jax.ShapeDtypeStruct((4, 0), jnp.bfloat16, sharding=whole)]
    (filled,) = fill_empty(tree)
    assert (filled.shape, filled.dtype, filled.sharding) == ((1,), jnp.bfloat16, whole)
