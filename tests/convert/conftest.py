"""Writes .pth files by hand, with the standard pickler and stand-ins for PyTorch's classes.

Independent of the package's own writer, and able to make files that no honest program writes.
"""

import collections
import io
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest

# Helper modules lie beside the tests.
sys.path.insert(0, str(Path(__file__).parent))

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
STORAGE_CLASSES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


def _rebuild_tensor_v2(*args):
    raise AssertionError("a stand-in must never be called")


def _rebuild_parameter(*args):
    raise AssertionError("a stand-in must never be called")


class FakeTensor:
    """A strided view of a flat array; `num_elements` can lie about the array's length."""

    def __init__(self, storage, shape, stride, offset=0, *, num_elements=None, parameter=False):
        self.storage, self.shape, self.stride, self.offset = storage, shape, stride, offset
        self.num_elements = storage.size if num_elements is None else num_elements
        self.parameter = parameter

    @classmethod
    def of(cls, array, **kwargs):
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        stride = tuple(step // array.itemsize for step in array.strides)
        return cls(array.reshape(-1), array.shape, stride, **kwargs)


class _StorageId:
    def __init__(self, tensor):
        self.tensor = tensor


class _Pickler(pickle.Pickler):
    def __init__(self, stream, torch, legacy):
        super().__init__(stream, protocol=2)
        self.torch, self.legacy = torch, legacy
        self.keys = {}

    def reducer_override(self, obj):
        if not isinstance(obj, FakeTensor):
            return NotImplemented
        if obj.parameter:
            inner = FakeTensor(obj.storage, obj.shape, obj.stride, obj.offset)
            rebuild = self.torch["torch._utils"]._rebuild_parameter
            return rebuild, (inner, True, collections.OrderedDict())
        rebuild = self.torch["torch._utils"]._rebuild_tensor_v2
        hooks = collections.OrderedDict()
        return rebuild, (_StorageId(obj), obj.offset, obj.shape, obj.stride, False, hooks)

    def persistent_id(self, obj):
        if not isinstance(obj, _StorageId):
            return None
        storage = obj.tensor.storage
        key, _ = self.keys.setdefault(id(storage), (str(len(self.keys)), storage))
        kind = getattr(self.torch["torch"], STORAGE_CLASSES[storage.dtype.name])
        pid = ("storage", kind, key, "cpu", obj.tensor.num_elements)
        return (*pid, None) if self.legacy else pid


class TorchFiles:
    """Makes .pth files in a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.folder, self._monkeypatch = folder, monkeypatch

    def pickle(self, contents, *, legacy=False):
        """Returns the pickle's bytes, and the storages by key."""
        torch = self._stand_ins()
        stream = io.BytesIO()
        pickler = _Pickler(stream, torch, legacy)
        with self._monkeypatch.context() as patch:
            for name, module in torch.items():
                patch.setitem(sys.modules, name, module)
            pickler.dump(contents)
        return stream.getvalue(), dict(pickler.keys.values())

    def zip(self, contents, name="made.pth", **kwargs):
        """Writes the zip format and returns the path."""
        data, storages = self.pickle(contents)
        entries = {f"data/{key}": storage.tobytes() for key, storage in storages.items()}
        return self.raw_zip({"data.pkl": data, **entries}, name, **kwargs)

    def raw_zip(self, entries, name="made.pth", *, byteorder=b"little", compression=0):
        path = self.folder / name
        with zipfile.ZipFile(path, "w", compression) as archive:
            for entry, data in {"byteorder": byteorder, "version": b"3\n", **entries}.items():
                archive.writestr(f"made/{entry}", data)
        return path

    def legacy(self, contents, name="legacy.pth", *, little_endian=True, version=1001):
        """Writes the old format: pickles in a row, then the storages."""
        data, storages = self.pickle(contents, legacy=True)
        machine = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {}}
        parts = [pickle.dumps(value, 2) for value in (LEGACY_MAGIC, version, machine)]
        parts += [data, pickle.dumps(list(storages), 2)]
        for storage in storages.values():
            parts += [struct.pack("<q", storage.size), storage.tobytes()]
        path = self.folder / name
        path.write_bytes(b"".join(parts))
        return path

    def state(self, arrays, *, prefix=""):
        """Returns an ordered dict of contiguous tensors, with the attribute that modules add."""
        state = collections.OrderedDict((prefix + k, FakeTensor.of(a)) for k, a in arrays.items())
        state._metadata = collections.OrderedDict({"": {"version": 1}})
        return state

    @staticmethod
    def _stand_ins():
        torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
        for name in STORAGE_CLASSES.values():
            setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))
        for function in (_rebuild_tensor_v2, _rebuild_parameter):
            copy = types.FunctionType(function.__code__, {}, function.__name__)
            copy.__module__ = "torch._utils"
            copy.__qualname__ = function.__name__
            setattr(utils, function.__name__, copy)
        return {"torch": torch, "torch._utils": utils}


@pytest.fixture
def torch_files(tmp_path, monkeypatch) -> TorchFiles:
    return TorchFiles(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def fake_tensor():
    return FakeTensor


@pytest.fixture(scope="session")
def lightsr_tiny(golden_dir) -> Path:
    """A complete small checkpoint as PyTorch wrote it."""
    return golden_dir / "lightsr_tiny.pth"
