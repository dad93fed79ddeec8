"""Pairs by kind of source, and what is wrong with them, said before the first batch."""

import shutil

import numpy as np
import pytest
from made_batches import batches
from PIL import Image

from input_pipeline import embedded
from input_pipeline.codecs import CODEC_IDS
from input_pipeline.image_files import read_rgb
from input_pipeline.pipeline import eval_pairs
from input_pipeline.sources import FilePairs, pair_folders, tree_files


def test_jpeg_sources_can_be_halved(tmp_path, photo):
    folder = tmp_path / "clean"
    folder.mkdir()
    Image.fromarray(photo).save(folder / "a.jpg")
    config = {"source": "jpeg", "gt": str(folder), "halve_jpeg": True, "patch_size": 32}
    assert batches(config)[0]["gt"].shape == (4, 32, 32, 3)
    with pytest.raises(ValueError, match=r"a\.jpg gives an input of 48x32.*patch of 33x33"):
        batches({**config, "patch_size": 33})


def test_embedded_pairs_are_built_once_per_setting(tmp_path, monkeypatch):
    monkeypatch.setitem(embedded.SPLITS, "train", ("chelsea.png",))
    monkeypatch.setitem(embedded.SPLITS, "eval", ("chelsea.png",))
    config = {"codec": "jpeg", "qp": 20, "cache_dir": str(tmp_path)}
    assert batches(config)[0]["gt"].shape == (4, 64, 64, 3)
    (pair,) = eval_pairs(config)
    assert pair.gt.shape == (300, 451, 3)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert len(written) == 2
    batches(config)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == written
    (other,) = eval_pairs({**config, "qp": 60})
    assert not np.array_equal(other.lq, pair.lq)
    assert len(list(tmp_path.rglob("*.json"))) == 3


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"source": "built"}, ValueError, "config.data.root is empty.*--codec vvc --qp 27 --out"),
        ({"source": "built", "root": "absent"}, FileNotFoundError, "vvc/qp27 is not a built"),
        ({"source": "folder"}, ValueError, "config.data.gt is empty: give the folder of originals"),
        ({"source": "folder", "gt": "x"}, ValueError, "config.data.lq is empty"),
        ({"source": "folder", "gt": "x", "lq": "y"}, FileNotFoundError, "there is no folder 'x'"),
        ({"source": "jpeg"}, ValueError, "config.data.gt is empty: give a folder of clean images"),
        ({"source": "tfds"}, ValueError, "config.data.root is empty: give the folder of a TFDS"),
        ({"source": "tfds", "root": "absent"}, FileNotFoundError, "absent is not the version"),
        ({"sorce": "folder"}, KeyError, "data has no field 'sorce'"),
    ],
)
def test_missing_data_are_said_in_one_line(fields, kind, message):
    with pytest.raises(kind, match=message) as caught:
        batches(fields)
    assert "\n" not in str(caught.value)


def test_jpeg_commands_name_the_quality():
    with pytest.raises(FileNotFoundError, match="--codec jpeg --quality 30 --out DIR"):
        batches({"source": "built", "root": "absent", "codec": "jpeg", "qp": 30})


def test_unpaired_and_misshapen_files_are_named(built, tmp_path):
    gt, lq = tmp_path / "gt", tmp_path / "lq"
    shutil.copytree(built / "jpeg/quality10/gt", gt)
    shutil.copytree(built / "jpeg/quality10/lq", lq)
    config = {"source": "folder", "gt": str(gt), "lq": str(lq), "patch_size": 16}
    batches(config)
    (lq / "3.png").rename(lq / "three.png")
    with pytest.raises(ValueError, match=r"gt has images without a partner in .*lq: 3"):
        batches(config)
    (gt / "3.png").unlink()
    with pytest.raises(ValueError, match=r"lq has images without a partner in .*gt: three"):
        batches(config)
    (lq / "three.png").unlink()
    Image.fromarray(np.zeros((30, 20, 3), np.uint8)).save(lq / "2.png")
    with pytest.raises(ValueError, match=r"2\.png has 20x30 pixels, but .*2\.png has 54x42"):
        batches(config)
    with pytest.raises(ValueError, match=r"0\.png gives an input of 48x40, smaller than the patch"):
        batches({**config, "patch_size": 41})


def test_jpeg_on_the_fly_has_no_scale(built):
    with pytest.raises(ValueError, match="'jpeg' has no scale 2"):
        batches({"source": "jpeg", "gt": str(built / "source"), "patch_size": 8}, scale=2)


def test_a_source_is_known_by_its_files(built, tmp_path):
    folder = tmp_path / "tree"
    shutil.copytree(built / "jpeg/quality10", folder)
    pairs = FilePairs(tuple(tree_files(folder)))
    before = pairs.fingerprint()
    assert before == FilePairs(tuple(tree_files(folder))).fingerprint()
    assert before != FilePairs(tuple(tree_files(folder)), in_chans=1).fingerprint()
    Image.fromarray(255 - read_rgb(folder / "lq/3.png")).save(folder / "lq/3.png")
    assert before != pairs.fingerprint()


def test_pairs_of_a_tree_carry_its_labels(built):
    pairs = tree_files(built / "jpeg/quality50")
    assert [pair.name for pair in pairs] == ["0", "1", "2", "3", "4"]
    assert {(pair.qp, pair.codec) for pair in pairs} == {(50, CODEC_IDS["jpeg"])}
    example = FilePairs(tuple(pairs))[4]
    np.testing.assert_array_equal(example.lq, read_rgb(built / "jpeg/quality50/lq/4.png"))
    assert (example.qp, example.codec) == (50, CODEC_IDS["jpeg"])


def test_unlabelled_folders_are_paired_by_stem(tmp_path):
    for part, suffix in (("gt", ".png"), ("lq", ".bmp")):
        (tmp_path / part).mkdir()
        for name in ("b", "a"):
            image = np.zeros((4, 5, 3), np.uint8)
            Image.fromarray(image).save(tmp_path / part / f"{name}{suffix}")
    pairs = pair_folders(tmp_path / "gt", tmp_path / "lq", qp=22)
    assert [(pair.gt.name, pair.lq.name) for pair in pairs] == [
        ("a.png", "a.bmp"),
        ("b.png", "b.bmp"),
    ]
    assert {(pair.qp, pair.codec) for pair in pairs} == {(22, 0)}
