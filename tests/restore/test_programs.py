"""Compiled programs: what they are told of experts, noise and coding."""

import jax
import jax.numpy as jnp
import numpy as np

from armoe_jax.restore.programs import FORCED, Programs, gate_noise


def make(network, **options):
    return Programs(*network, **{"dtype": "float32", "sample": False, "seed": 0} | options)


def test_gate_noise_is_the_documented_fold():
    noise = gate_noise(7, jnp.array([[3, 2], [0, 1]], jnp.uint32), 2, 4)
    key = jax.random.key(7)
    for index in (3, 2, 1):  # image, tile, layer
        key = jax.random.fold_in(key, index)
    np.testing.assert_array_equal(noise[1, 0], jax.random.gumbel(key, (4,)))
    assert noise.shape == (2, 2, 4)


def test_a_bias_forces_the_expert_of_each_layer(identity):
    programs = make(identity)
    bias = programs.forcing_bias(np.array([2]))
    np.testing.assert_array_equal(bias, [[0, 0, FORCED, 0]])
    assert bias.dtype == programs.no_bias().dtype == np.float32
    assert (programs.no_bias().shape, programs.no_bias().any()) == ((1, 4), False)


def test_a_shape_is_compiled_once_and_for_all_weights(identity):
    config, variables = identity
    programs = make(identity)
    assert programs.shapes == ()
    first = programs.program((1, 4, 6))
    assert programs.program((1, 4, 6)) is first
    other = programs.with_variables(jax.tree.map(lambda leaf: leaf + 1, variables))
    assert other.program((1, 4, 6)) is first
    assert programs.shapes == other.shapes == ((1, 4, 6),)
    # One array a block, as they were given.
    jax.tree.map(np.testing.assert_array_equal, dict(programs.variables), variables)
    assert programs.memory_bytes((1, 4, 6)) >= 4 * 24 * 3
    x = np.random.default_rng(0).random((1, 4, 6, 3), np.float32)
    y, expert = programs.run(
        x, programs.forcing_bias(np.array([3]))[:, None], np.zeros((1, 2), "u4")
    )
    np.testing.assert_allclose(y, x, atol=1e-6)  # a network without tail
    np.testing.assert_array_equal(expert, [[3]])
    assert config.num_layers == 1


def test_networks_are_told_what_they_look_at(identity):
    steps = np.full((2, 64), 3, np.float32)
    assert make(identity).coding_of(2, steps) == {}
    told = make(identity, quality=31.5).coding_of(2, steps)
    assert set(told) == {"quality"}
    np.testing.assert_array_equal(told["quality"], [31.5, 31.5])
