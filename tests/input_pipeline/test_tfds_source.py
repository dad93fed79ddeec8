"""Pairs of prepared TFDS data sets, by number."""

import pickle

import numpy as np
import pytest
from PIL import Image

from armoe_jax.metrics import luma
from input_pipeline import datasets
from input_pipeline.codecs import CODEC_IDS
from input_pipeline.image_files import list_images, read_rgb
from input_pipeline.tfds_source import TfdsPairs
from input_pipeline.transforms import reduce_bicubic


@pytest.fixture(scope="module")
def manual_dir(tmp_path_factory, photo):
    folder = tmp_path_factory.mktemp("manual") / "Set5"
    folder.mkdir()
    for name, part in (("a", photo[:25, :34]), ("b", photo[7:40, 3:51])):
        Image.fromarray(part).save(folder / f"{name}.png")
    return folder.parent


@pytest.fixture(scope="module")
def roots(manual_dir, tmp_path_factory):
    """Version folders of the same two images as they are, coded, and reduced by two."""
    data_dir = tmp_path_factory.mktemp("tfds")
    made = {}
    for name in ("original", "jpeg_quality40", "bicubic_x2"):
        datasets.prepare(f"set5/{name}", data_dir=data_dir, manual_dir=manual_dir)
        made[name] = str(data_dir / f"set5/{name}/1.0.0")
    return made


def test_pairs_come_with_their_labels(roots, manual_dir):
    pairs = TfdsPairs(roots["jpeg_quality40"], "test")
    assert len(pairs) == 2
    assert sorted(pairs.names()) == ["a", "b"]
    example = pairs[pairs.names().index("b")]
    np.testing.assert_array_equal(example.gt, read_rgb(manual_dir / "Set5/b.png"))
    assert (example.qp, example.codec) == (40, CODEC_IDS["jpeg"])
    assert 0 < np.abs(example.lq.astype(float) - example.gt).mean() < 20


def test_gray_networks_get_luma(roots, manual_dir):
    pairs = TfdsPairs(roots["original"], "test", in_chans=1)
    expected = np.round(luma(read_rgb(manual_dir / "Set5/a.png"))).astype(np.uint8)
    example = pairs[pairs.names().index("a")]
    np.testing.assert_array_equal(example.gt[..., 0], expected)
    assert (example.qp, example.codec) == (-1, 0)


@pytest.mark.parametrize("name", ["original", "bicubic_x2"])
def test_inputs_are_reduced_where_they_are_the_originals(roots, manual_dir, name):
    pairs = TfdsPairs(roots[name], "test", scale=2)
    example = pairs[pairs.names().index("a")]
    gt, lq = reduce_bicubic(read_rgb(list_images(manual_dir / "Set5")[0]), 2)
    np.testing.assert_array_equal(example.gt, gt)
    np.testing.assert_array_equal(example.lq, lq)


def test_another_scale_shows_at_once(roots):
    with pytest.raises(ValueError, match=r"has lq of \(\d+, \d+\) .* which is not scale 3"):
        TfdsPairs(roots["bicubic_x2"], "test", scale=3)


def test_workers_open_readers_of_their_own(roots):
    pairs = TfdsPairs(roots["original"], "test")
    copy = pickle.loads(pickle.dumps(pairs))
    assert "_elements" not in vars(copy)
    np.testing.assert_array_equal(copy[1].gt, pairs[1].gt)


def test_the_fingerprint_tells_sets_and_settings_apart(roots):
    made = [
        TfdsPairs(roots["original"], "test"),
        TfdsPairs(roots["original"], "test", scale=2),
        TfdsPairs(roots["original"], "test", in_chans=1),
        TfdsPairs(roots["jpeg_quality40"], "test"),
    ]
    assert len({pairs.fingerprint() for pairs in made}) == 4
    assert made[0].fingerprint() == TfdsPairs(roots["original"], "test").fingerprint()


def test_what_is_no_prepared_set_is_said(roots, tmp_path):
    with pytest.raises(FileNotFoundError, match="is not the version folder of a prepared TFDS"):
        TfdsPairs(str(tmp_path), "test")
    with pytest.raises(FileNotFoundError, match="has no split 'train'; it has test"):
        TfdsPairs(roots["original"], "train")
