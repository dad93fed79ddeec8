"""Safetensors files, ours and those of others."""

import json
import stat

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from armoe_jax.convert import read_safetensors, write_safetensors
from armoe_jax.models import ARMoEConfig

CONFIG = ARMoEConfig(embed_dim=36, split_size=(4, 8), qk_scale=0.5)
TENSORS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "count": np.array(7, np.int64),
}


def test_round_trip_with_config_and_provenance(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, TENSORS, CONFIG, {"sha256": "00"})
    file = read_safetensors(path)
    assert file.config == CONFIG
    assert file.provenance == {"sha256": "00"}
    assert set(file.tensors) == set(TENSORS)
    for name, array in TENSORS.items():
        assert file.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(file.tensors[name], array)
        assert file.tensors[name].shape == array.shape


def test_metadata_are_one_json_entry(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, TENSORS, CONFIG, {})
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert list(metadata) == ["armoe_jax"]
    assert json.loads(metadata["armoe_jax"])["config"]["embed_dim"] == 36


def test_equal_input_gives_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_safetensors(tmp_path / name, TENSORS, CONFIG, {"b": 1, "a": 2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_permissions_are_those_of_other_new_files(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, TENSORS, CONFIG, {})
    (tmp_path / "other").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_existing_file_stays(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        write_safetensors(path, TENSORS, CONFIG, {})
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"precious"]


def test_bare_state_dict_of_others(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"module.a": np.ones(3, np.float32)}, path, {"format": "pt"})
    file = read_safetensors(path)
    assert file.config is None
    assert file.provenance == {}
    assert list(file.tensors) == ["a"]


@pytest.mark.parametrize(
    "data", [b"", b"abc", (10**17).to_bytes(8, "little") + b"{}", bytes(8), b"PK\x03\x04" * 50]
)
def test_damaged_files_are_refused(tmp_path, data):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="cannot read") as caught:
        read_safetensors(path)
    assert "x.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_file_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, TENSORS, CONFIG, {})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="cannot read"):
        read_safetensors(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ("[]", "a list, not an object"),
        ("[" * 100_000, "nested more than 100 levels"),
        ('{"format_version": ' + "[" * 200 + "]" * 200 + "}", "nested more than 100 levels"),
        ('{"format_version": 1, "config": [], "provenance": {}}', "lack the object config"),
        ('{"format_version": 1, "config": {}, "provenance": []}', "or the object provenance"),
        ('{"format_version": 1, "config": {"mlp_ratio": Infinity}, "provenance": {}}', "mlp_ratio"),
        ('{"format_version": 1, "config": {"img_range": NaN}, "provenance": {}}', "img_range"),
        ('{"format_version": 1, "config": {"embed_dim": [1]}, "provenance": {}}', "embed_dim"),
        ('{"format_version": 1, "config": {"experts": [["dct"]]}, "provenance": {}}', "experts"),
        ('{"format_version": 2}', "format version 2; this program reads 1"),
        ('{"format_version": 1}', "config"),
        ('{"format_version": 1, "config": {"embed_dim": 3}, "provenance": {}}', "embed_dim=3"),
        ('{"format_version": 1, "config": {"dim": 3}, "provenance": {}}', "unknown architecture"),
    ],
)
def test_metadata_that_are_not_understood(tmp_path, text, message):
    path = tmp_path / "x.safetensors"
    save_file({"a": np.ones(3, np.float32)}, path, {"armoe_jax": text})
    with pytest.raises(ValueError, match="cannot read") as caught:
        read_safetensors(path)
    assert message in str(caught.value)
