import pickle

import numpy as np
import pytest
from PIL import Image

from input_pipeline.pipeline import train_loader
from input_pipeline.skipping import SkippingPairs, TooManyDamagedError
from input_pipeline.sources import FilePairs, PairFiles


@pytest.fixture
def files(tmp_path):
    """Five pairs; the second and third inputs are truncated."""
    rng = np.random.default_rng(0)
    for kind in ("gt", "lq"):
        (tmp_path / kind).mkdir()
        for i in range(5):
            path = tmp_path / kind / f"{i}.png"
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
            if kind == "lq" and i in (1, 2):
                path.write_bytes(path.read_bytes()[:400])
    return [PairFiles(str(i), tmp_path / f"gt/{i}.png", tmp_path / f"lq/{i}.png") for i in range(5)]


def test_the_next_sound_pair_stands_in_and_each_damaged_one_is_named_once(files, caplog):
    plain = FilePairs(tuple(files))
    pairs = SkippingPairs(plain, limit=2)
    for index, expected in ((0, 0), (1, 3), (2, 3), (3, 3), (1, 3)):
        np.testing.assert_array_equal(pairs[index].lq, plain[expected].lq)
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    assert "skipping a training image (1 of at most 2): " in warnings[0]
    assert str(files[1].lq) in warnings[0]
    assert str(files[2].lq) in warnings[1]
    assert pairs.fingerprint() == plain.fingerprint()


def test_one_more_than_allowed_is_an_error_that_names_it(files):
    pairs = pickle.loads(pickle.dumps(SkippingPairs(FilePairs(tuple(files)), limit=1)))
    with pytest.raises(TooManyDamagedError, match=r"2 training images .* at most 1 .*2\.png"):
        pairs[1]


def test_what_the_disk_refuses_is_no_damage(files):
    files[0].gt.unlink()
    with pytest.raises(OSError, match=r"0\.png"):
        SkippingPairs(FilePairs(tuple(files)), limit=5)[0]


@pytest.mark.parametrize("limit", [1, 2])
def test_training_goes_on_or_stops_with_one_error(files, tmp_path, limit):
    fields = {
        "source": "folder",
        "gt": str(tmp_path / "gt"),
        "lq": str(tmp_path / "lq"),
        "patch_size": 8,
        "max_damaged": limit,
    }
    with train_loader(fields, batch_size=2, seed=1, num_steps=20) as loader:
        if limit == 2:
            assert len(list(loader)) == 20
        else:
            with pytest.raises(TooManyDamagedError, match=r"data\.max_damaged"):
                list(loader)
