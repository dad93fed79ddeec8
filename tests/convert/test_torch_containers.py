"""Damaged archives and old files, and those made to do harm: refused with one line."""

import contextlib
import struct
import zipfile

import numpy as np
import pytest
from refusals import ARRAYS, refusal

from armoe_jax.convert import read_torch, torch_containers


def test_empty_file(tmp_path):
    path = tmp_path / "x.pth"
    path.touch()
    assert "0 bytes" in refusal(path)


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n" + bytes(90), b"#!/bin/sh\n", b"\0" * 100, b"P", b"PK\x05\x06" * 9]
)
def test_wrong_magic(tmp_path, data):
    path = tmp_path / "x.pth"
    path.write_bytes(data)
    assert "no file of torch.save" in refusal(path)


@pytest.mark.parametrize("write", ["zip", "legacy"])
def test_truncated_anywhere(torch_files, write):
    path = getattr(torch_files, write)(torch_files.state(ARRAYS))
    data = path.read_bytes()
    for length in range(1, len(data), 97):
        path.write_bytes(data[:length])
        refusal(path)


@pytest.mark.parametrize("write", ["zip", "legacy"])
def test_damaged_bytes_are_refused_or_harmless(torch_files, write):
    path = getattr(torch_files, write)(torch_files.state(ARRAYS))
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), 150):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        # Either error or well-formed names, shapes and values; no other exception.
        with contextlib.suppress(ValueError):
            tensors = read_torch(path).tensors
            assert all(isinstance(array, np.ndarray) for array in tensors.values())


def test_damaged_values_in_the_zip_format_are_noticed(torch_files):
    path = torch_files.zip(torch_files.state(ARRAYS))
    data = bytearray(path.read_bytes())
    data[data.index(ARRAYS["weight"].tobytes()) + 1000] ^= 1
    path.write_bytes(data)
    assert "made/data/0 is damaged" in refusal(path)


def test_zip_bomb(torch_files):
    data, _ = torch_files.pickle(torch_files.state({"x": np.zeros(2**22, np.float32)}))
    entries = {"data.pkl": data, "data/0": bytes(2**24)}
    path = torch_files.raw_zip(entries, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**16
    assert "is compressed" in refusal(path)


def test_entry_that_declares_more_than_the_file_holds(torch_files):
    path = torch_files.zip(torch_files.state(ARRAYS))
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    while not data[directory + 46 :].startswith(b"made/data/0"):
        directory = data.index(b"PK\x01\x02", directory + 4)
    struct.pack_into("<II", data, directory + 20, 2**31, 2**31)
    path.write_bytes(data)
    assert "2147" in refusal(path)


def test_overlapping_entries(torch_files):
    # Two directory entries that point to the same bytes.
    path = torch_files.zip(torch_files.state({"a": ARRAYS["weight"], "b": ARRAYS["weight"] + 1}))
    data = bytearray(path.read_bytes())
    offsets, start = {}, data.find(b"PK\x01\x02")
    while start >= 0:
        offsets[bytes(data[start + 46 : start + 57])] = start
        start = data.find(b"PK\x01\x02", start + 4)
    first, second = offsets[b"made/data/0"], offsets[b"made/data/1"]
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    path.write_bytes(data)
    assert "damaged" in refusal(path)


def test_two_entries_of_one_name(torch_files):
    path = torch_files.zip(torch_files.state(ARRAYS))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("made/data/0", b"other")
    assert "two entries made/data/0" in refusal(path)


def test_too_many_entries(torch_files, monkeypatch):
    monkeypatch.setattr(torch_containers, "MAX_ENTRIES", 3)
    assert "more than 3 entries" in refusal(torch_files.zip(torch_files.state(ARRAYS)))


def test_storage_shorter_than_the_pickle_says(torch_files, fake_tensor):
    tensor = fake_tensor(np.arange(6, dtype=np.float32), (8,), (1,), num_elements=8)
    # 6 float32 values have 24 bytes.
    assert "24 bytes, but the pickle declares 8 elements" in refusal(torch_files.zip({"w": tensor}))
    legacy = torch_files.legacy({"w": tensor})
    assert "truncated" in refusal(legacy)
    legacy.write_bytes(legacy.read_bytes() + bytes(8))
    assert "has 6 elements, but the pickle declares 8" in refusal(legacy)


def test_storage_without_bytes(torch_files):
    data, _ = torch_files.pickle(torch_files.state(ARRAYS))
    assert "lacks the entry made/data/0" in refusal(torch_files.raw_zip({"data.pkl": data}))


def test_archive_without_a_pickle(torch_files):
    assert "0 entries ROOT/data.pkl" in refusal(torch_files.raw_zip({"weights": b"x"}))


def test_files_of_big_endian_machines(torch_files):
    state = torch_files.state(ARRAYS)
    assert "big-endian" in refusal(torch_files.zip(state, byteorder=b"big"))
    assert "big-endian" in refusal(torch_files.legacy(state, little_endian=False))


def test_legacy_file_of_another_version(torch_files):
    assert "version 999" in refusal(torch_files.legacy(torch_files.state(ARRAYS), version=999))
