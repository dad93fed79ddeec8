import jax
import numpy as np
import pytest

from armoe_jax.exported.writer import check_export, export_model, flatten, unflatten

TILE = 16


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
    ],
)
def test_refused_exports_leave_nothing(tmp_path, config, variables, arguments, message):
    with pytest.raises(ValueError, match=message):
        export_model(tmp_path / "x", config, variables, **{"tile": TILE, **arguments})
    assert list(tmp_path.iterdir()) == []
