"""Weights joined into specialists restore as each of them did alone."""

import dataclasses

import join_specialists
import networks
import numpy as np
import pytest

from armoe_jax import load_pretrained
from armoe_jax.checkpoints.folder import LoadedModel
from armoe_jax.checkpoints.weights import load_weights, save_weights

CONFIG = dataclasses.replace(
    networks.WINDOWED, experts=(), share_mixings=True, quality_range=(17.0, 42.0)
)


@pytest.fixture(scope="module")
def members(make_variables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    paths = []
    for seed in (0, 1):
        paths.append(folder / f"{seed}.safetensors")
        save_weights(paths[-1], LoadedModel(CONFIG, make_variables(CONFIG, seed), {"run": seed}))
    return paths


def test_each_serves_its_qualities(members, tmp_path):
    out = tmp_path / "joined.safetensors"
    assert join_specialists.main([str(out), *map(str, members), "--bounds", "28"]) == 0
    joined = load_weights(out)
    assert joined.config == dataclasses.replace(CONFIG, specialists=(28.0,))
    sources = joined.provenance["origin"]["specialists"]
    assert [source["source"] for source in sources] == [path.name for path in members]
    image = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    for qp, member in ((22, members[0]), (28, members[0]), (29, members[1]), (42, members[1])):
        want = load_pretrained(member, coding_quality=qp)(image)
        np.testing.assert_array_equal(load_pretrained(out, coding_quality=qp)(image), want)


def test_sets_of_a_joined_network_are_members_again(members, tmp_path):
    joined, swapped, alone = (tmp_path / f"{name}.safetensors" for name in "abc")
    assert join_specialists.main([str(joined), *map(str, members), "--bounds", "28"]) == 0
    words = [str(swapped), f"{joined}#1", str(members[0]), "--bounds", "30"]
    assert join_specialists.main(words) == 0
    assert join_specialists.main([str(alone), f"{swapped}#0"]) == 0
    taken = load_weights(alone)
    assert taken.config == CONFIG
    assert taken.provenance["origin"]["specialist"] == 0
    image = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    want = load_pretrained(members[1], coding_quality=25)(image)
    for path in (swapped, alone):
        np.testing.assert_array_equal(load_pretrained(path, coding_quality=25)(image), want)


def test_refuses_a_set_that_is_not_there(members, tmp_path, capsys):
    out, joined = tmp_path / "out.safetensors", tmp_path / "joined.safetensors"
    assert join_specialists.main([str(joined), *map(str, members), "--bounds", "28"]) == 0
    assert join_specialists.main([str(out), f"{joined}#2"]) == 2
    assert "has no set 2, but 2, counted from 0" in capsys.readouterr().err
    assert join_specialists.main([str(out), f"{members[0]}#0"]) == 2
    assert "has no set 0, but 0" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("number", "bounds", "message"),
    [
        (1, ["28"], "1 members and 1 bounds"),
        (2, ["50"], "rising qualities between 17 and 42"),
        (2, ["28", "30"], "2 members and 2 bounds"),
    ],
)
def test_refuses_what_no_quality_could_choose(members, tmp_path, capsys, number, bounds, message):
    out = tmp_path / "joined.safetensors"
    words = [str(out), *map(str, members[:number]), "--bounds", *bounds]
    assert join_specialists.main(words) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_refuses_members_that_differ_or_are_joined_already(make_variables, members):
    first = load_weights(members[0])
    other = dataclasses.replace(CONFIG, depth=1)
    with pytest.raises(ValueError, match=r"member 1 is .*depth=1"):
        join_specialists.join([first, LoadedModel(other, make_variables(other))], [28.0])
    joined = join_specialists.join([first, first], [28.0])
    with pytest.raises(ValueError, match="no windowed network of one set"):
        join_specialists.join([joined, joined], [30.0])
