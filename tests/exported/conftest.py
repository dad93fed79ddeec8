"""A small network, its weights, and a file that holds it."""

import dataclasses

import networks
import pytest

from armoe_jax.exported.writer import export_model

TILE = 16
CONFIG = dataclasses.replace(networks.RELEASED, depth=(2,))


@pytest.fixture(scope="package")
def variables(make_variables):
    return make_variables(CONFIG)


@pytest.fixture(scope="package")
def file(tmp_path_factory, variables):
    path = tmp_path_factory.mktemp("export") / "tiny.armoe"
    export_model(path, CONFIG, variables, tile=TILE, provenance={"source": "test"})
    return path


@pytest.fixture(scope="package")
def config():
    """A network of two blocks, for tiles of 16x16 pixels."""
    return CONFIG
