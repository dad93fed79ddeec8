"""Reading honest .pth files, in every form that there is."""

import collections
import zipfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from refusals import refusal

from armoe_jax.convert import read_torch, torch_weights, write_torch

ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "bias": np.array([0.5, -1.5], np.float32),
    "count": np.array(7, np.int64),
}


def assert_same(tensors, expected):
    assert list(tensors) == list(expected)
    for name, array in expected.items():
        assert tensors[name].dtype == array.dtype, name
        assert tensors[name].shape == array.shape, name
        assert tensors[name].tobytes() == array.tobytes(), name


def test_released_file_is_read_exactly(lightsr_tiny):
    state = read_torch(lightsr_tiny)
    assert state.key == "params"
    # Architecture.md section 7: 4 at the head, 4 blocks, 8 at the tail. A block has 2 gammas,
    # 8 of norms, 4 of qkv and proj, 2 * 16 of the branches (2 buffers, 14 of the position bias),
    # 2 of get_v; 4 + 16 + 4 + 2 + 6 of the mixture; 2 * 8 of ffn; block 2 has 2 masks.
    block = 2 + 8 + 4 + 2 * 16 + 2 + 4 + 16 + 4 + 2 + 6 + 2 * 8
    assert len(state.tensors) == 4 + 4 * block + 2 + 8
    assert state.tensors["conv_first.weight"].shape == (32, 3, 3, 3)
    with zipfile.ZipFile(lightsr_tiny) as archive:
        first = archive.read("lightsr_tiny/data/0")
    assert state.tensors["conv_first.weight"].tobytes() == first


@pytest.mark.parametrize("write", ["zip", "legacy"])
def test_bare_state_dict(torch_files, write):
    state = read_torch(getattr(torch_files, write)(torch_files.state(ARRAYS)))
    assert state.key is None
    assert_same(state.tensors, ARRAYS)


@pytest.mark.parametrize("write", ["zip", "legacy"])
@pytest.mark.parametrize(
    ("key", "chosen"), [("auto", "params_ema"), ("params", "params"), ("params_ema", "params_ema")]
)
def test_key_chooses_between_weights(torch_files, write, key, chosen):
    averages = {name: array + array.dtype.type(1) for name, array in ARRAYS.items()}
    contents = {"params": torch_files.state(ARRAYS), "params_ema": torch_files.state(averages)}
    state = read_torch(getattr(torch_files, write)(contents), key)
    assert state.key == chosen
    assert_same(state.tensors, averages if chosen == "params_ema" else ARRAYS)


def test_auto_takes_raw_weights_without_averages(torch_files):
    path = torch_files.zip({"params": torch_files.state(ARRAYS), "iter": 5, "note": "x"})
    assert read_torch(path).key == "params"


def test_missing_key_is_named_with_what_there_is(torch_files):
    path = torch_files.zip({"params": torch_files.state(ARRAYS)})
    with pytest.raises(ValueError, match=r"no entry 'params_ema'; its entries are 'params'"):
        read_torch(path, "params_ema")


def test_unknown_key_is_refused(lightsr_tiny):
    with pytest.raises(ValueError, match="key='ema' is not one of"):
        read_torch(lightsr_tiny, "ema")


def test_prefix_of_distributed_training_is_taken_off(torch_files):
    path = torch_files.zip({"params": torch_files.state(ARRAYS, prefix="module.")})
    assert_same(read_torch(path).tensors, ARRAYS)


def test_prefix_stays_unless_all_names_have_it(torch_files):
    arrays = {"module.a": ARRAYS["bias"], "b": ARRAYS["bias"]}
    assert list(read_torch(torch_files.zip(torch_files.state(arrays))).tensors) == list(arrays)


@pytest.mark.parametrize("write", ["zip", "legacy"])
@pytest.mark.parametrize(
    "dtype",
    [
        *("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"),
        ml_dtypes.bfloat16,
    ],
)
def test_element_types(torch_files, write, dtype):
    arrays = {"x": np.array([0, 1, 1, 3], np.float32).astype(dtype)}
    assert_same(read_torch(getattr(torch_files, write)(torch_files.state(arrays))).tensors, arrays)


@pytest.mark.parametrize("write", ["zip", "legacy"])
def test_views_of_one_storage(torch_files, fake_tensor, write):
    storage = np.arange(12, dtype=np.float32)
    state = collections.OrderedDict(
        whole=fake_tensor(storage, (3, 4), (4, 1)),
        transposed=fake_tensor(storage, (4, 3), (1, 4)),
        second_column=fake_tensor(storage, (3,), (4,), offset=1),
        repeated=fake_tensor(storage, (2, 2), (0, 1), offset=10),
        scalar=fake_tensor(storage, (), (), offset=11),
        empty=fake_tensor(storage, (0, 4), (4, 1)),
    )
    tensors = read_torch(getattr(torch_files, write)(state)).tensors
    np.testing.assert_array_equal(tensors["whole"], storage.reshape(3, 4))
    np.testing.assert_array_equal(tensors["transposed"], storage.reshape(3, 4).T)
    # Elements 1, 5 and 9 of 0..11.
    np.testing.assert_array_equal(tensors["second_column"], [1, 5, 9])
    np.testing.assert_array_equal(tensors["repeated"], [[10, 11], [10, 11]])
    assert tensors["scalar"] == 11
    assert tensors["empty"].shape == (0, 4)
    assert np.shares_memory(tensors["whole"], tensors["transposed"])


def test_parameters_are_tensors(torch_files, fake_tensor):
    state = {"weight": fake_tensor.of(ARRAYS["weight"], parameter=True)}
    assert_same(read_torch(torch_files.zip(state)).tensors, {"weight": ARRAYS["weight"]})


def test_file_without_checksums_is_read(torch_files):
    # torch.save can leave checksums out; the fields are then 0, here set to 0 by hand.
    path = torch_files.zip(torch_files.state(ARRAYS))
    data = bytearray(path.read_bytes())
    for mark, field in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        start = data.find(mark)
        while start >= 0:
            data[start + field : start + field + 4] = bytes(4)
            start = data.find(mark, start + 4)
    path.write_bytes(data)
    assert_same(read_torch(path).tensors, ARRAYS)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([1, 2], "holds a list, not a state dict"),
        ({"model": {"weight": 1}}, "'model' are no tensors"),
        ({"params": {"weight": 1.5}}, "'weight' are no tensors"),
        ({"params": {}}, "no dict with tensors"),
        ({}, "no dict with tensors"),
    ],
)
def test_other_contents_are_refused(torch_files, contents, message):
    with pytest.raises(ValueError, match=message):
        read_torch(torch_files.zip(contents))


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


@settings(max_examples=25, deadline=None)
@given(
    array=hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    data=st.data(),
)
def test_what_the_writer_writes_is_read_back(tmp_path_factory, array, data):
    axes = data.draw(st.permutations(range(array.ndim)))
    path = tmp_path_factory.mktemp("written") / "x.pth"
    expected = {"a": array, "b": array.transpose(axes)}
    write_torch(path, expected)
    assert_same(read_torch(path).tensors, expected)


@pytest.mark.data
def test_golden_forms_hold_the_same_weights(shared_dir):
    golden = shared_dir / "golden"
    expected = read_torch(golden / "car_tiny.pth").tensors
    for name in ("car_tiny_ddp.pth", "car_tiny_legacy.pth"):
        assert_same(read_torch(golden / name).tensors, expected)
    assert_same(read_torch(golden / "car_tiny_ema.pth", "params").tensors, expected)
    averages = read_torch(golden / "car_tiny_ema.pth").tensors
    assert not np.array_equal(averages["conv_first.weight"], expected["conv_first.weight"])
