"""Keywords go to the network or to the restorer, each to one of them."""

import pytest

from armoe_jax.checkpoints.folder import save_model
from armoe_jax.restore.pretrained import load_pretrained


@pytest.fixture
def released(tiny, tmp_path):
    """A folder of a network with the released mixture."""
    config, variables = tiny
    save_model(tmp_path / "released", config, variables, provenance={})
    return tmp_path / "released"


def test_route_is_an_option_of_the_restorer_though_a_field_has_the_name(released):
    restorer = load_pretrained(released, route="image", tile=64, overlap=16)
    assert restorer.config.mixture == "released"
    with pytest.raises(ValueError, match="route"):
        load_pretrained(released, route="pixel")


def test_a_keyword_of_neither_is_refused(released):
    with pytest.raises(TypeError, match="no_such"):
        load_pretrained(released, no_such=1)
