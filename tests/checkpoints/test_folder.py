"""Model folders."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import traverse_util

from armoe_jax.checkpoints import folder as model_folder
from armoe_jax.checkpoints.folder import is_model_folder, load_model, save_model
from armoe_jax.convert import rules_of, variable_shapes
from armoe_jax.models import ARMoEConfig

# So narrow that the position bias has width 0, arrays without elements.
CONFIG = ARMoEConfig(
    embed_dim=4, depth=(1,), num_heads=(2,), mlp_ratio=1.0, split_size=(2, 4), qk_scale=0.5
)
PROVENANCE = {"source": "x.pth", "sha256": "00ff"}


def make_variables(config, fill):
    shapes = variable_shapes(rules_of(config))
    flat = {path: fill(shape) for path, shape in shapes.items()}
    return traverse_util.unflatten_dict(flat, sep="/")


@pytest.fixture(scope="module")
def variables():
    rng = np.random.default_rng(0)
    return make_variables(CONFIG, lambda shape: rng.standard_normal(shape, np.float32))


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert isinstance(a, np.ndarray)
        assert a.dtype == np.float32
        assert a.tobytes() == np.asarray(b).tobytes()


def test_round_trip(tmp_path, variables):
    path = tmp_path / "deep" / "model"
    assert not is_model_folder(path)
    counters = {"group_0/block_0/moe/gate/norm0": 7}
    save_model(path, CONFIG, variables, provenance=PROVENANCE, num_batches_tracked=counters)
    assert is_model_folder(path)
    model = load_model(path)
    assert model.config == CONFIG
    assert model.provenance == PROVENANCE
    assert model.num_batches_tracked == counters
    assert_same(model.variables, variables)
    expected = sum(np.size(leaf) for leaf in jax.tree.leaves(variables["params"]))
    assert model.num_parameters == expected
    # Nothing is left beside it.
    assert [p.name for p in path.parent.iterdir()] == ["model"]


def test_arrays_of_jax_are_saved_too(tmp_path, variables):
    save_model(tmp_path / "m", CONFIG, jax.tree.map(jnp.asarray, variables), provenance={})
    assert_same(load_model(tmp_path / "m").variables, variables)


def test_network_without_experts_has_no_running_statistics(tmp_path):
    config = ARMoEConfig(embed_dim=4, depth=(1,), num_heads=(2,), split_size=(2, 2), experts=())
    variables = make_variables(config, lambda shape: np.ones(shape, np.float32))
    save_model(tmp_path / "m", config, variables, provenance={})
    assert set(load_model(tmp_path / "m").variables) == {"params"}


def test_description_is_readable_and_variables_are_an_orbax_checkpoint(tmp_path, variables):
    save_model(tmp_path / "m", CONFIG, variables, provenance=PROVENANCE)
    description = json.loads((tmp_path / "m" / "model.json").read_text())
    assert description["config"]["split_size"] == [2, 4]
    assert description["provenance"] == PROVENANCE
    with ocp.StandardCheckpointer() as checkpointer:
        restored = checkpointer.restore(tmp_path / "m" / "variables")
    kernel = restored["params"]["conv_first"]["kernel"]
    np.testing.assert_array_equal(kernel, variables["params"]["conv_first"]["kernel"])


def test_variables_that_do_not_fit_are_refused(tmp_path, variables):
    other = ARMoEConfig(embed_dim=4, depth=(1,), num_heads=(2,), mlp_ratio=2.0, split_size=(2, 4))
    with pytest.raises(ValueError, match=r"do not fit the architecture.*ffn1/fc1/kernel"):
        save_model(tmp_path / "m", other, variables, provenance={})
    assert list(tmp_path.iterdir()) == []


def test_existing_model_is_replaced_only_if_allowed(tmp_path, variables):
    path = tmp_path / "m"
    save_model(path, CONFIG, variables, provenance={"n": 1})
    with pytest.raises(FileExistsError, match="--overwrite"):
        save_model(path, CONFIG, variables, provenance={"n": 2})
    assert load_model(path).provenance == {"n": 1}
    save_model(path, CONFIG, variables, provenance={"n": 3}, overwrite=True)
    assert load_model(path).provenance == {"n": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_other_folders_are_never_replaced(tmp_path, variables):
    path = tmp_path / "photos"
    path.mkdir()
    (path / "a.png").touch()
    with pytest.raises(FileExistsError, match="is no model folder"):
        save_model(path, CONFIG, variables, provenance={}, overwrite=True)
    assert [p.name for p in path.iterdir()] == ["a.png"]


def test_failure_leaves_the_old_model(tmp_path, variables, monkeypatch):
    path = tmp_path / "m"
    save_model(path, CONFIG, variables, provenance={"n": 1})

    def fail(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(model_folder.ocp.StandardCheckpointer, "save", fail)
    with pytest.raises(OSError, match="no space left"):
        save_model(path, CONFIG, variables, provenance={"n": 2}, overwrite=True)
    assert load_model(path).provenance == {"n": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_folder_without_description(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model folder: it has no model\.json"):
        load_model(tmp_path)


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"origin": value}
    return value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format_version=2), "version 2; 'armoe-jax model', version 1 is read"),
        (lambda d: d.pop("config"), "config"),
        (lambda d: d["config"].update(embed_dim=3), "embed_dim=3"),
        (lambda d: d["config"].update(mlp_ratio=2.0), "do not fit the architecture"),
        (lambda d: d.update(config=[]), "do not fit the architecture"),
        (lambda d: d.update(config=3), "not iterable"),
        (lambda d: d.update(provenance=nested(200)), "nested more than 100 levels"),
        (lambda d: d.update(num_batches_tracked={"x": -1}), "no count"),
        (lambda d: d["config"].update(depth=[10**9]), "at most 1000 blocks"),
        (lambda d: d["files_sha256"].popitem(), "changed since it was written"),
    ],
)
def test_damaged_description(tmp_path, variables, change, message):
    path = tmp_path / "m"
    save_model(path, CONFIG, variables, provenance={})
    description = json.loads((path / "model.json").read_text())
    change(description)
    (path / "model.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=r"do not fit|cannot") as caught:
        load_model(path)
    assert message in str(caught.value)


def test_description_that_is_no_json(tmp_path, variables):
    save_model(tmp_path / "m", CONFIG, variables, provenance={})
    (tmp_path / "m" / "model.json").write_text("{")
    with pytest.raises(ValueError, match=r"cannot read .*model\.json"):
        load_model(tmp_path / "m")


def test_missing_variables(tmp_path, variables):
    save_model(tmp_path / "m", CONFIG, variables, provenance={})
    shutil.rmtree(tmp_path / "m" / "variables")
    with pytest.raises(ValueError, match=r"cannot read .*variables: missing") as caught:
        load_model(tmp_path / "m")
    assert "\n" not in str(caught.value)


def test_any_damage_is_noticed(tmp_path, variables):
    path = tmp_path / "m"
    save_model(path, CONFIG, variables, provenance={})
    rng = np.random.default_rng(0)
    files = [file for file in (path / "variables").rglob("*") if file.is_file()]
    assert files
    for file in files:
        data = file.read_bytes()
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 16
        for content in (bytes(damaged), data[:-1], data + b"x"):
            file.write_bytes(content)
            with pytest.raises(ValueError, match=f"changed since it was written: .*{file.name}"):
                load_model(path)
        file.write_bytes(data)
    assert_same(load_model(path).variables, variables)
