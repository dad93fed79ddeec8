import dataclasses

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from armoe_jax.exported import load_export
from armoe_jax.exported.writer import check_export, export_model, flatten, unflatten
from armoe_jax.images.jpeg import log2_step_of_quality
from armoe_jax.models import build_model

TILE = 16
ADAPTIVE = dataclasses.replace(networks.JPEG, stride=2, grid=16)


@pytest.mark.slow
def test_check_finds_other_weights(file, config, variables):
    other = jax.tree.map(lambda a: a * 1.5, variables)
    with pytest.raises(ValueError, match="differs by"):
        check_export(file, config, other)


def test_flatten_and_back(variables):
    flat = flatten(variables)
    assert "params/conv_first/kernel" in flat
    assert jax.tree.all(jax.tree.map(np.array_equal, unflatten(flat), variables))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tile": 15}, "tile is 15"),
        ({"batch": 0}, "batch is 0"),
        ({"platforms": ["metal"]}, "not among"),
        ({"platforms": []}, "not among"),
        ({"dtype": "float16"}, "float16"),
        ({"coding_quality": 40}, "does not adapt"),
    ],
)
def test_refused_exports_leave_nothing(tmp_path, config, variables, arguments, message):
    with pytest.raises(ValueError, match=message):
        export_model(tmp_path / "x", config, variables, **{"tile": TILE, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_a_coding_quality_is_fixed_in_the_file(tmp_path, make_variables):
    variables = make_variables(ADAPTIVE)
    path = tmp_path / "told"
    export_model(path, ADAPTIVE, variables, tile=TILE, platforms=["cpu"], coding_quality=40)
    exported = load_export(path)
    assert exported.info.coding_quality == 40
    x = np.random.default_rng(1).random((3, TILE, TILE, 3), np.float32)
    steps = np.full((3, 64), 9, np.float32)
    apply = jax.jit(build_model(ADAPTIVE).apply)
    quality = jnp.full((3,), log2_step_of_quality(40))
    for told in ({}, {"steps": steps}):
        known = {name: jnp.asarray(value) for name, value in told.items()}
        expected = apply(variables, jnp.asarray(x), quality=quality, **known)
        np.testing.assert_allclose(exported(x, **told).image, expected, atol=1e-4)
        assert jnp.abs(apply(variables, jnp.asarray(x), **known) - expected).max() > 1e-3
    assert check_export(path, ADAPTIVE, variables) < 1e-4


def test_an_impossible_coding_quality_leaves_nothing(tmp_path, make_variables):
    with pytest.raises(ValueError, match="a JPEG's is 1 to 100"):
        export_model(tmp_path / "x", ADAPTIVE, {}, tile=TILE, coding_quality=101)
    assert list(tmp_path.iterdir()) == []
