"""From every kind of checkpoint to the same network, and from one kind to another."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from same_models import assert_same_model

import armoe_jax
from armoe_jax.checkpoints import shipped, workdir
from armoe_jax.checkpoints.folder import load_model
from armoe_jax.checkpoints.weights import load_weights, save_weights
from armoe_jax.convert import read_torch
from armoe_jax.restore.pretrained import load_pretrained

PROJECT = Path(__file__).parents[2]
NAME = "lightsr_tiny"


@pytest.fixture(scope="module")
def released(golden_dir):
    return golden_dir / f"{NAME}.pth"


@pytest.fixture(scope="module")
def converted(released, tmp_path_factory):
    """The same weights as every kind of checkpoint."""
    folder = tmp_path_factory.mktemp("converted")
    model = load_weights(released)
    save_weights(folder / "x.safetensors", model)
    save_weights(folder / "x.pth", model)
    save_weights(folder / "model", model)
    bare = load_file(folder / "x.safetensors")
    save_file(bare, folder / "bare.safetensors")
    return folder


@pytest.fixture(scope="module")
def golden(golden_dir):
    return np.load(golden_dir / f"{NAME}.npz")


@pytest.mark.parity
def test_outputs_are_those_of_the_released_network(released, golden):
    restorer = armoe_jax.load_pretrained(released)
    x = golden["case0/input"].transpose(0, 2, 3, 1)
    y, routing = restorer.apply(x, return_routing=True)
    expected = golden["case0/output_argmax"].transpose(0, 2, 3, 1)
    tolerance = max(10 * golden["case0/f64diff/output_argmax"], 1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(routing.expert, golden["case0/expert"])


@pytest.mark.parametrize("kind", ["x.safetensors", "x.pth", "model"])
def test_every_kind_holds_the_same_model(released, converted, kind):
    model = load_weights(converted / kind)
    expected = load_weights(released)
    assert_same_model(model, expected)
    assert model.num_batches_tracked == expected.num_batches_tracked
    assert len(expected.num_batches_tracked) == 8


def test_chain_of_conversions_keeps_every_tensor(released, converted, tmp_path):
    save_weights(tmp_path / "from_folder.pth", load_weights(converted / "model"))
    save_weights(tmp_path / "from_safetensors.pth", load_weights(converted / "x.safetensors"))
    expected = read_torch(released).tensors
    for path in tmp_path.iterdir():
        tensors = read_torch(path).tensors
        assert list(tensors) == list(expected)
        for name, array in expected.items():
            assert tensors[name].dtype == array.dtype
            assert tensors[name].tobytes() == array.tobytes()


def test_provenance_leads_back_to_the_first_file(released, converted):
    digest = hashlib.sha256(released.read_bytes()).hexdigest()
    first = {"source": released.name, "sha256": digest, "format": "pth", "key": "params"}
    assert load_weights(released).provenance == first
    assert load_model(converted / "model").provenance == first
    provenance = load_weights(converted / "x.safetensors").provenance
    assert provenance["origin"] == first
    digest = hashlib.sha256((converted / "x.safetensors").read_bytes()).hexdigest()
    assert provenance["sha256"] == digest


def test_safetensors_of_others_need_the_window(released, converted):
    path = converted / "bare.safetensors"
    with pytest.raises(ValueError, match=r"bare\.safetensors.*give the keyword split_size"):
        load_weights(path)
    assert_same_model(load_weights(path, split_size=(4, 8)), load_weights(released))


def test_keywords_are_architecture_or_restoration(released):
    restorer = load_pretrained(released, img_range=255.0, tile=64, overlap=16)
    assert restorer.config.img_range == 255.0


@pytest.mark.parametrize("kind", ["x.safetensors", "model"])
def test_keywords_go_before_what_a_checkpoint_says(converted, kind):
    model = load_weights(converted / kind, qk_scale=0.25, experts=("swt", "haar", "fft", "dct"))
    assert model.config.qk_scale == 0.25
    assert model.config.experts == ("swt", "haar", "fft", "dct")
    with pytest.raises(ValueError, match=f"cannot use .*{kind}"):
        load_weights(converted / kind, embed_dim=64)


def test_unknown_keyword_lists_what_is_allowed(released):
    with pytest.raises(TypeError, match=r"\['tiles'\]") as caught:
        load_pretrained(released, tiles=64)
    assert all(name in str(caught.value) for name in ("'img_range'", "'tile'", "'seed'"))
    with pytest.raises(TypeError, match=r"\['tile'\]"):
        load_weights(released, tile=64)


def test_unknown_name_lists_names_and_kinds(tmp_path, monkeypatch, converted):
    monkeypatch.setattr(shipped, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint 'demo'.*\(none\).*\.pth"):
        load_pretrained("demo")
    (tmp_path / "demo_qp27.safetensors").write_bytes((converted / "x.safetensors").read_bytes())
    with pytest.raises(FileNotFoundError, match=r"\(demo_qp27\)"):
        load_pretrained("demo")


def test_weights_of_the_package_are_found_by_name(tmp_path, monkeypatch, converted, released):
    monkeypatch.setattr(shipped, "WEIGHTS_FOLDER", tmp_path)
    (tmp_path / "demo.safetensors").write_bytes((converted / "x.safetensors").read_bytes())
    assert shipped.shipped_names() == ["demo"]
    assert_same_model(load_weights("demo"), load_weights(released))


def test_training_workdir(tmp_path, monkeypatch, released):
    expected = load_weights(released)
    asked = []

    def load_workdir(path, key):
        asked.append((path, key))
        return expected.config, expected.variables

    monkeypatch.setattr(workdir, "is_workdir", lambda path: True)
    monkeypatch.setattr(workdir, "load_workdir", load_workdir)
    model = load_weights(tmp_path, key="params", img_range=2.0)
    assert asked == [(tmp_path, "params")]
    assert model.config.img_range == 2.0
    assert model.provenance["format"] == "workdir"


def test_other_paths_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"neither a model folder .* nor the workdir"):
        load_weights(tmp_path)
    (tmp_path / "x.onnx").touch()
    with pytest.raises(ValueError, match=r"suffix '\.onnx'"):
        load_weights(tmp_path / "x.onnx")


@pytest.mark.parametrize("kind", ["x.safetensors", "model"])
def test_key_is_refused_where_there_is_one_set(converted, kind):
    with pytest.raises(ValueError, match="holds one set of weights"):
        load_weights(converted / kind, key="params_ema")


def test_unknown_key(released):
    with pytest.raises(ValueError, match="key='ema' is not allowed"):
        load_weights(released, key="ema")


def test_options_of_our_own_are_not_written_to_pth(tmp_path, released):
    model = load_weights(released, global_skip=True)
    with pytest.raises(ValueError, match="released network has no global_skip=True"):
        save_weights(tmp_path / "x.pth", model)
    assert list(tmp_path.iterdir()) == []
    save_weights(tmp_path / "x.safetensors", model)
    assert load_weights(tmp_path / "x.safetensors").config.global_skip


@pytest.mark.data
@pytest.mark.parity
@pytest.mark.parametrize(
    ("file", "key", "prefix"),
    [
        ("car_tiny.pth", "auto", "case0"),
        ("car_tiny_ddp.pth", "auto", "case0"),
        ("car_tiny_legacy.pth", "auto", "case0"),
        ("car_tiny_ema.pth", "params", "case0"),
        ("car_tiny_ema.pth", "auto", "ema_case0"),
    ],
)
def test_every_form_gives_the_golden_output(shared_dir, car_tiny, file, key, prefix):
    golden = np.load(shared_dir / "golden" / "car_tiny.npz")
    model = load_weights(shared_dir / "golden" / file, key=key)
    x = golden["case0/input"].transpose(0, 2, 3, 1)
    # One restorer compiles for all forms: the architecture is the same.
    y = car_tiny.with_variables(model.variables).apply(x)
    expected = golden[f"{prefix}/output_argmax"].transpose(0, 2, 3, 1)
    difference = golden[f"{prefix}/f64diff/output_argmax"]
    tolerance = max(10 * difference, 1e-5 * np.abs(expected).max())
    assert model.config == car_tiny.config
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def car_tiny(shared_dir):
    return load_pretrained(shared_dir / "golden" / "car_tiny.pth")
