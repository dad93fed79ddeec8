"""Pickles made to do harm, and malformed ones: refused with one line, and nothing is run."""

import collections
import os
import pickle
import re
import struct

import numpy as np
import pytest
from refusals import ARRAYS, refusal

from armoe_jax.convert import read_torch, torch_pickle


class Shell:
    """Pickles to a call of os.system."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


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


@pytest.mark.parametrize("write", ["zip", "legacy"])
def test_too_long_a_pickle(torch_files, monkeypatch, write):
    path = getattr(torch_files, write)(torch_files.state(ARRAYS))
    monkeypatch.setattr(torch_pickle, "MAX_PICKLE_BYTES", 100)
    assert "longer than 100 bytes" in refusal(path)


def test_storage_declared_in_two_ways(torch_files, fake_tensor):
    storage = np.arange(6, dtype=np.float32)
    state = collections.OrderedDict(
        a=fake_tensor(storage, (6,), (1,)), b=fake_tensor(storage, (6,), (1,), num_elements=7)
    )
    assert "in two ways" in refusal(torch_files.zip(state))
