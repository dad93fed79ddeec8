"""A small network, its weights, and a file that holds it."""

import networks
import pytest

from armoe_jax.exported.writer import export_model

TILE = 16


@pytest.fixture(scope="package")
def variables(make_variables):
    return make_variables(networks.RELEASED)


@pytest.fixture(scope="package")
def file(tmp_path_factory, variables):
    path = tmp_path_factory.mktemp("export") / "tiny.armoe"
    export_model(path, networks.RELEASED, variables, tile=TILE, provenance={"source": "test"})
    return path


@pytest.fixture(scope="package")
def config():
    """A network of two blocks, for tiles of 16x16 pixels."""
    return networks.RELEASED
