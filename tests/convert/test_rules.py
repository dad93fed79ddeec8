"""Strict application of rules, on a made-up network."""

import ml_dtypes
import numpy as np
import pytest

from armoe_jax.convert.rules import (
    Constant,
    Counter,
    Weight,
    check_variables,
    export_variables,
    import_state_dict,
)

TABLE = np.array([1.0, -100.0], np.float32)
RULES = (
    Weight("conv.weight", (2, 3, 1, 1), "params/conv/kernel", (2, 3, 1, 0)),
    Constant("mask", (2,), lambda: TABLE),
    Weight("bn.running_mean", (2,), "batch_stats/bn/mean", (0,)),
    Counter("bn.num_batches_tracked", "bn"),
)
STATE = {
    "conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1),
    "mask": TABLE,
    "bn.running_mean": np.array([3.0, 4.0], np.float32),
    "bn.num_batches_tracked": np.array(5, np.int64),
}


def test_import():
    imported = import_state_dict(RULES, STATE)
    assert set(imported.variables) == {"params", "batch_stats"}
    # Out 0 has 0, 1, 2 for the three inputs, out 1 has 3, 4, 5.
    kernel = imported.variables["params"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, [[[[0, 3], [1, 4], [2, 5]]]])
    assert kernel.flags.c_contiguous
    assert kernel.flags.writeable
    np.testing.assert_array_equal(imported.variables["batch_stats"]["bn"]["mean"], [3, 4])
    assert imported.counters == {"bn": 5}


def test_export_undoes_import():
    imported = import_state_dict(RULES, STATE)
    exported = export_variables(RULES, imported.variables, imported.counters, constants=True)
    assert list(exported) == list(STATE)
    for name, array in STATE.items():
        assert exported[name].dtype == array.dtype
        assert exported[name].tobytes() == array.tobytes()


def test_constants_and_counters_may_be_absent():
    state = {name: STATE[name] for name in ("conv.weight", "bn.running_mean")}
    imported = import_state_dict(RULES, state)
    assert imported.counters == {}
    exported = export_variables(RULES, imported.variables, {}, constants=False)
    assert list(exported) == ["conv.weight", "bn.running_mean", "bn.num_batches_tracked"]
    assert exported["bn.num_batches_tracked"] == 0
    assert exported["bn.num_batches_tracked"].dtype == np.int64


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_weights_of_other_float_types_become_float32(dtype):
    imported = import_state_dict(
        RULES,
        {**STATE, "mask": TABLE.astype(dtype)}
        | {"conv.weight": STATE["conv.weight"].astype(dtype)},
    )
    kernel = imported.variables["params"]["conv"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel.ravel(), [0, 3, 1, 4, 2, 5])


def test_one_error_lists_every_problem():
    state = {
        "conv.weight": np.zeros((3, 2, 1, 1), np.float32),
        "mask": np.zeros(2, bool),
        "bn.num_batches_tracked": np.array(5.0, np.float32),
        "stray": np.zeros(1, np.float32),
        "other": np.zeros(1, np.float32),
    }
    with pytest.raises(ValueError, match="does not fit the architecture") as caught:
        import_state_dict(RULES, state)
    message = str(caught.value)
    assert "1 missing: bn.running_mean" in message
    assert "2 unexpected: stray, other" in message
    assert "1 misshapen: conv.weight (3, 2, 1, 1) instead of (2, 3, 1, 1)" in message
    assert "2 of a wrong type: mask bool, bn.num_batches_tracked float32" in message
    assert "\n" not in message


def test_constants_of_other_values_are_an_error():
    with pytest.raises(ValueError, match=r"constant buffers.*1 differing: mask"):
        import_state_dict(RULES, {**STATE, "mask": TABLE + 1})


def test_integers_are_no_weights():
    state = {**STATE, "bn.running_mean": np.array([3, 4], np.int32)}
    with pytest.raises(ValueError, match="running_mean int32"):
        import_state_dict(RULES, state)


def test_variables_are_checked_as_strictly():
    variables = {
        "params": {"conv": {"kernel": np.zeros((1, 1, 2, 3)), "bias": np.zeros(2)}},
    }
    with pytest.raises(ValueError, match="variables do not fit") as caught:
        check_variables(RULES, variables)
    message = str(caught.value)
    assert "1 missing: batch_stats/bn/mean" in message
    assert "1 unexpected: params/conv/bias" in message
    assert "1 misshapen: params/conv/kernel (1, 1, 2, 3) instead of (1, 1, 3, 2)" in message
    with pytest.raises(ValueError, match="variables do not fit"):
        export_variables(RULES, variables, {}, constants=False)
