"""What all experts have in common."""

import jax
import numpy as np
import pytest

from armoe_jax.experts import Expert


def test_an_expert_must_define_its_call(inputs):
    class Lazy(Expert):
        pass

    with pytest.raises(TypeError, match="Lazy must define __call__"):
        Lazy().apply({}, inputs)


def test_inputs_pass_through_jit_and_can_be_replaced(inputs):
    doubled = jax.jit(lambda i: i.replace(values=2 * i.values))(inputs)
    np.testing.assert_array_equal(doubled.values, 2 * inputs.values)
    np.testing.assert_array_equal(doubled.features, inputs.features)
    assert not Expert.has_parameters
