"""Writing .pth files."""

import zipfile

import ml_dtypes
import numpy as np
import pytest

from armoe_jax.convert import read_torch, torch_writer, write_torch

STATE = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "count": np.array(7, np.int64),
    "empty": np.zeros((0, 3), np.float32),
}


def test_layout_is_that_of_torch_save(tmp_path):
    path = tmp_path / "x.pth"
    write_torch(path, STATE)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names[:2] == ["archive/data.pkl", "archive/byteorder"]
        assert names[2:] == [*(f"archive/data/{n}" for n in range(4)), "archive/version"]
        assert archive.read("archive/byteorder") == b"little"
        assert archive.read("archive/version") == b"3\n"
        # Non-contiguous arrays are stored in the order of their own axes.
        transposed = np.frombuffer(archive.read("archive/data/1"), np.float32)
        np.testing.assert_array_equal(transposed, [0, 3, 1, 4, 2, 5])
        for entry in archive.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            with path.open("rb") as file:
                file.seek(entry.header_offset)
                header = file.read(30)
            lengths = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:], "little")
            assert (entry.header_offset + 30 + sum(lengths)) % 64 == 0


def test_equal_input_gives_equal_bytes(tmp_path):
    for name in ("a.pth", "b.pth"):
        write_torch(tmp_path / name, STATE)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_an_array_of_several_names_is_stored_once(tmp_path):
    mask = np.ones(1000, np.float32)
    write_torch(tmp_path / "shared.pth", {"a": mask, "b": mask})
    write_torch(tmp_path / "apart.pth", {"a": mask, "b": mask.copy()})
    difference = (tmp_path / "apart.pth").stat().st_size - (tmp_path / "shared.pth").stat().st_size
    # One storage of 4000 bytes, and what an entry adds.
    assert 4000 < difference < 4500
    tensors = read_torch(tmp_path / "shared.pth").tensors
    np.testing.assert_array_equal(tensors["a"], tensors["b"])


def test_existing_file_stays_unless_overwriting_is_allowed(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_torch(path, STATE)
    assert path.read_bytes() == b"precious"
    write_torch(path, STATE, overwrite=True)
    assert list(read_torch(path).tensors) == list(STATE)


def test_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "x.pth").mkdir()
    with pytest.raises(IsADirectoryError):
        write_torch(tmp_path / "x.pth", STATE, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(array):
        raise OSError("no space left")

    monkeypatch.setattr(torch_writer, "_bytes", fail)
    with pytest.raises(OSError, match="no space left"):
        write_torch(tmp_path / "x.pth", STATE)
    assert list(tmp_path.iterdir()) == []


def test_element_types_that_pytorch_lacks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="z has the type complex64"):
        write_torch(tmp_path / "x.pth", {"z": np.zeros(2, np.complex64)})
    assert list(tmp_path.iterdir()) == []


def test_pytorch_reads_it(tmp_path):
    torch = pytest.importorskip("torch")
    state = {
        **STATE,
        "half": np.arange(3, dtype=np.float16),
        "bfloat16": np.arange(3).astype(ml_dtypes.bfloat16),
        "flag": np.array([True, False]),
    }
    path = tmp_path / "x.pth"
    write_torch(path, state)
    for memory_map in (False, True):
        loaded = torch.load(path, weights_only=True, mmap=memory_map)["params"]
        assert list(loaded) == list(state)
        for name, tensor in loaded.items():
            assert tensor.shape == state[name].shape
            assert str(tensor.dtype) == f"torch.{state[name].dtype.name}"
            np.testing.assert_array_equal(
                tensor.to(torch.float64).numpy(), state[name].astype(np.float64)
            )


def test_what_pytorch_writes_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    weight = torch.arange(12.0).reshape(3, 4)
    state = {"weight": torch.nn.Parameter(weight), "view": weight.T[1:], "n": torch.tensor(3)}
    for legacy in (False, True):
        path = tmp_path / f"{legacy}.pth"
        torch.save({"params": state}, path, _use_new_zipfile_serialization=not legacy)
        tensors = read_torch(path).tensors
        np.testing.assert_array_equal(tensors["weight"], weight.numpy())
        np.testing.assert_array_equal(tensors["view"], weight.T[1:].numpy())
        assert tensors["n"] == 3
        assert tensors["n"].dtype == np.int64
