"""Small networks for the tests of restoration."""

import dataclasses

import jax
import networks
import numpy as np
import pytest

from armoe_jax.models import ARMoEConfig


@pytest.fixture(scope="package")
def tiny(make_variables):
    """Config and weights of an RGB network."""
    return networks.RELEASED, make_variables(networks.RELEASED)


@pytest.fixture(scope="package")
def identity(make_variables):
    """A network without tail, which returns its input: compiles in no time."""
    config = dataclasses.replace(networks.RELEASED, upsampler="", experts=ARMoEConfig().experts)
    return config, make_variables(config)


@pytest.fixture(scope="package")
def doubling(make_variables):
    """A network of two times the size that is bicubic upscaling: its tail is zero."""
    config = dataclasses.replace(
        networks.RELEASED, upsampler="lightSR", experts=(), global_skip=True
    )
    variables = make_variables(config)
    tail = variables["params"]["upsample"]
    variables["params"]["upsample"] = jax.tree.map(np.zeros_like, tail)
    return config, variables
