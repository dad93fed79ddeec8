"""Files made to do harm, and damaged ones: refused with one line, and nothing is run."""

import collections
import contextlib
import os
import pickle
import re
import struct
import zipfile

import numpy as np
import pytest

from armoe_jax.convert import read_torch, torch_containers, torch_pickle, torch_weights

ARRAYS = {"weight": np.arange(600, dtype=np.float32).reshape(20, 30)}


class Shell:
    """Pickles to a call of os.system."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def refusal(path, key="auto"):
    """Returns the message of the error that reading must raise: one line that names the file."""
    with pytest.raises(ValueError, match="cannot read") as caught:
        read_torch(path, key)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    assert len(message) < 1000
    return message


@pytest.fixture
def canary(tmp_path):
    """A file that a hostile pickle tries to make."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle"])
def test_call_of_the_shell(torch_files, canary, protocol, form):
    data = pickle.dumps({"params": Shell(f"touch {canary}")}, protocol)
    if form == "zip":
        path = torch_files.raw_zip({"data.pkl": data})
    else:
        path = torch_files.folder / "x.pth"
        legacy = torch_files.legacy(torch_files.state(ARRAYS)).read_bytes()
        head = legacy[: legacy.index(b"little_endian")]
        magic_and_version = head[: head.rindex(b"\x80\x02")]
        path.write_bytes((magic_and_version if form == "legacy" else b"") + data)
    assert f"{os.system.__module__}.system" in refusal(path)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("subprocess", "Popen"),
        ("torch._utils", "_rebuild_tensor_v3"),
        ("torch", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("numpy", "load"),
        ("collections", "defaultdict"),
        ("collections", "OrderedDict.fromkeys"),
        ("armoe_jax.convert.torch_pickle", "_build_tensor"),
    ],
)
@pytest.mark.parametrize("opcode", ["GLOBAL", "STACK_GLOBAL"])
def test_names_that_tensors_do_not_need(torch_files, module, name, opcode):
    if opcode == "GLOBAL":
        data = b"\x80\x02" + pickle.GLOBAL + f"{module}\n{name}\n".encode()
    else:
        strings = [bytes([140, len(text)]) + text.encode() for text in (module, name)]
        data = b"\x80\x04" + b"".join(strings) + pickle.STACK_GLOBAL
    path = torch_files.raw_zip({"data.pkl": data + pickle.STOP})
    message = refusal(path)
    assert f"{module}.{name}" in message
    assert "nothing was run" in message


def ordered_dict_class():
    return pickle.GLOBAL + b"collections\nOrderedDict\n"


def rebuild_function():
    return pickle.GLOBAL + b"torch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        # The opcodes that make objects by other ways than REDUCE.
        (b"(S'true'\nios\nsystem\n", "os.system"),
        (ordered_dict_class() + b")\x81", "NEWOBJ"),
        (b"(" + ordered_dict_class() + b"o", "OBJ"),
        (b"\x82\x01", "EXT1"),
        (b"Pname\n", "PERSID"),
        # Changing what the unpickler's table holds.
        (ordered_dict_class() + b"}U\x01aK\x01sb", "not a state dict's"),
        (ordered_dict_class() + b"}X\x01\0\0\0aK\x01sb", "not a state dict's"),
        (rebuild_function() + b"}X\x05\0\0\0buildK\x01sb", "not a state dict's"),
        (rebuild_function() + b"N}X\x05\0\0\0buildK\x01s\x86b", "not a state dict's"),
        # Calls with wrong arguments.
        (rebuild_function() + b")R", "not a state dict's"),
        (rebuild_function() + b"(NK\0))\x89NtR", "has no storage"),
        (ordered_dict_class() + b"K\x05\x85R", "not a state dict's"),
        (b"K\x05)R", "not a state dict's"),
        (pickle.GLOBAL + b"torch\nFloatStorage\n)R", "not a state dict's"),
        # Persistent ids that are no storages.
        (b"K\x05Q", "persistent id"),
        (b"(X\x06\0\0\0moduleNNNNtQ", "persistent id"),
        (b"(X\x07\0\0\0storageK\x01X\x01\0\0\x000NK\x01tQ", "kind 1"),
        # An index that would make the standard unpickler's memo take 32 GB.
        (b"}r\xff\xff\xff\x7f", "no dict with tensors"),
        # Values that are not there.
        (b"h\x07", "memo has no value 7"),
        (b"a", "value is missing"),
        (b"t", "mark is missing"),
        (b"}(K\x01u", "key without a value"),
        (b"K\x01(s", "value is missing"),
        # Changing what is in another container: its depth would no longer be known.
        (b"]q\0]h\0ah\0K\x01a", "changes a list that is in another"),
        (b"]q\0h\0a", "has a list within itself"),
        # No opcodes, an end too early.
        (b"\xff\xfe", "damaged or truncated"),
        (b"X\xff\xff\xff\x7fabc", "damaged or truncated"),
        (b"", "not a state dict's"),
    ],
)
def test_malformed_pickles(torch_files, body, word):
    path = torch_files.raw_zip({"data.pkl": b"\x80\x02" + body + pickle.STOP})
    assert word in refusal(path)


def test_nested_values_do_not_fill_memory_with_their_text(torch_files):
    # 40 levels of pairs that share their halves: 2^40 leaves if written out.
    levels = b"".join(
        b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" if i else b"Nq\0h\0\x86" for i in range(40)
    )
    path = torch_files.raw_zip({"data.pkl": b"\x80\x02" + levels + b"Q" + pickle.STOP})
    assert "persistent id" in refusal(path)


def pyramid(levels):
    """Pairs of the pair below, twice: 2^levels steps to hash or to write out."""
    return b"N" + b"q\0h\0\x86" * levels


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (pyramid(59), r"key \(\(\("),
        (b")" + b"\x85" * 60, r"key \(\(\("),
        (b"N", "key None"),
        (b"G" + bytes(8), r"key 0\.0"),
        (b"\x88", "key True"),
        (b"J\xff\xff\xff\xff", "key -1"),
        (b"J\0\0\x01\0", "key 65536"),
        (b"X" + struct.pack("<I", 1025) + b"x" * 1025, "key 'xxx"),
        (ordered_dict_class(), "key _OrderedDictType"),
    ],
)
@pytest.mark.parametrize(
    "form", [b"}%sNs", b"}(%sNu", b"(%sNd", ordered_dict_class() + b"]%sN\x86a\x85R"]
)
def test_only_names_and_small_numbers_are_keys(torch_files, form, key, shown):
    # The first pyramid took 2^59 steps to hash.
    path = torch_files.raw_zip({"data.pkl": b"\x80\x02" + form % key + pickle.STOP})
    assert re.search(shown, refusal(path))


def test_keys_of_training_states_are_read(torch_files):
    state = {"params": torch_files.state(ARRAYS), "optimizer": {0: {"step": 1}, 65535: {}}}
    assert list(read_torch(torch_files.zip(state)).tensors) == ["weight"]


@pytest.mark.parametrize(
    ("start", "around"), [(b")", b"\x85"), (b"]", b"q\0]h\0a"), (b"}", b"q\0}X\1\0\0\0kh\0s")]
)
def test_depth_is_bounded(torch_files, start, around):
    # A million tuples within each other, as a key, ended Python.
    for depth, word in ((64, "not a state dict|no state dict"), (65, "more than 64 containers")):
        body = b"\x80\x02" + start + around * (depth - 1) + pickle.STOP
        assert re.search(word, refusal(torch_files.raw_zip({"data.pkl": body})))


@pytest.mark.parametrize(
    "body",
    [
        b"N0" * 600,
        # A list of 100 pairs, copied twelve times into ordered dicts.
        b"](" + b"X\1\0\0\0kN\x86" * 100 + b"eq\0" + (ordered_dict_class() + b"h\0\x85R0") * 12,
    ],
)
def test_steps_are_bounded(torch_files, monkeypatch, body):
    path = torch_files.raw_zip({"data.pkl": b"\x80\x02" + body + pickle.STOP})
    assert "state dict" in refusal(path)
    monkeypatch.setattr(torch_pickle, "MAX_STEPS", 1000)
    assert "more than 1000 steps" in refusal(path)


def test_long_tuples_are_not_looked_through_again_and_again(torch_files):
    # Each call would cost as much as the tuple is long; the length alone decides.
    long = b"(" + b"K\x01" * 100 + b"tq\0"
    storage = b"(X\7\0\0\0storage" + pickle.GLOBAL + b"torch\nFloatStorage\nX\1\0\0\x000NK\1tQ"
    calls = {
        rebuild_function() + b"h\0R": "a call has 100 arguments",
        rebuild_function() + b"(" + storage + b"K\0h\0h\0\x89NtR": "at most 32",
    }
    for call, word in calls.items():
        path = torch_files.raw_zip({"data.pkl": b"\x80\x02" + long + call + pickle.STOP})
        assert word in refusal(path)


def test_numbers_that_are_too_large_for_numpy(torch_files, fake_tensor):
    # Strides in bytes beyond 64 bits raised OverflowError.
    tensor = fake_tensor(np.zeros(1, np.float32), (1,), (2**62,))
    assert str(2**48) in refusal(torch_files.zip({"w": tensor}))
    empty = fake_tensor(np.zeros(1, np.float32), (0, 2**47, 2**47), (1, 1, 1))
    refusal(torch_files.zip({"w": empty}))


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


@pytest.mark.parametrize("write", ["zip", "legacy"])
def test_too_long_a_pickle(torch_files, monkeypatch, write):
    path = getattr(torch_files, write)(torch_files.state(ARRAYS))
    monkeypatch.setattr(torch_pickle, "MAX_PICKLE_BYTES", 100)
    assert "longer than 100 bytes" in refusal(path)


def test_too_many_tensors(torch_files, monkeypatch):
    path = torch_files.zip(torch_files.state({"a": ARRAYS["weight"], "b": ARRAYS["weight"]}))
    monkeypatch.setattr(torch_weights, "MAX_TENSORS", 1)
    assert "2 tensors; 1 are allowed" in refusal(path)


@pytest.mark.parametrize("write", ["zip", "legacy"])
def test_tensor_that_expands_a_small_storage_beyond_the_limit(torch_files, fake_tensor, write):
    # 2^20 x 2^20 float32 values, all the same element: 2^42 bytes out of 4.
    tensor = fake_tensor(np.zeros(1, np.float32), (2**20, 2**20), (0, 0))
    path = getattr(torch_files, write)({"weight": tensor})
    assert f"declares {2**42} bytes" in refusal(path)


@pytest.mark.parametrize("write", ["zip", "legacy"])
@pytest.mark.parametrize(
    ("shape", "stride", "offset"),
    [((7,), (1,), 0), ((6,), (1,), 1), ((2, 2), (5, 1), 0), ((1,), (1,), 6), ((), (), 6)],
)
def test_tensors_past_the_end_of_their_storage(
    torch_files, fake_tensor, write, shape, stride, offset
):
    # Six elements: the last is number 5, and each of these would read number 6.
    tensor = fake_tensor(np.arange(6, dtype=np.float32), shape, stride, offset)
    message = refusal(getattr(torch_files, write)({"weight": tensor}))
    assert "past the end of its storage '0' of 6 elements" in message


@pytest.mark.parametrize(
    ("shape", "stride", "offset"),
    [((-2,), (1,), 0), ((2,), (-1,), 1), ((2,), (1,), -1), ((2.0,), (1,), 0), ((2, 2), (1,), 0)],
)
def test_impossible_views(torch_files, fake_tensor, shape, stride, offset):
    tensor = fake_tensor(np.arange(6, dtype=np.float32), shape, stride, offset)
    assert "stride" in refusal(torch_files.zip({"weight": tensor}))


def test_storage_shorter_than_the_pickle_says(torch_files, fake_tensor):
    tensor = fake_tensor(np.arange(6, dtype=np.float32), (8,), (1,), num_elements=8)
    # 6 float32 values have 24 bytes.
    assert "24 bytes, but the pickle declares 8 elements" in refusal(torch_files.zip({"w": tensor}))
    legacy = torch_files.legacy({"w": tensor})
    assert "truncated" in refusal(legacy)
    legacy.write_bytes(legacy.read_bytes() + bytes(8))
    assert "has 6 elements, but the pickle declares 8" in refusal(legacy)


def test_storage_declared_in_two_ways(torch_files, fake_tensor):
    storage = np.arange(6, dtype=np.float32)
    state = collections.OrderedDict(
        a=fake_tensor(storage, (6,), (1,)), b=fake_tensor(storage, (6,), (1,), num_elements=7)
    )
    assert "in two ways" in refusal(torch_files.zip(state))


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
