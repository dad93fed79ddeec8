"""Keywords go to the network or to the restorer, each to one of them."""

import pytest

from armoe_jax.restore.pretrained import load_pretrained


def test_route_is_an_option_of_the_restorer_though_a_field_has_the_name():
    restorer = load_pretrained("car_small_vvc", route="image", tile=64, overlap=16)
    assert restorer.config.mixture == "released"
    with pytest.raises(ValueError, match="route"):
        load_pretrained("car_small_vvc", route="pixel")


def test_a_keyword_of_neither_is_refused():
    with pytest.raises(TypeError, match="no_such"):
        load_pretrained("car_small_vvc", no_such=1)
