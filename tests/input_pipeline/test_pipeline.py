import shutil

import numpy as np
import pytest
from made_batches import assert_equal, batches
from PIL import Image

from armoe_jax.metrics import luma
from armoe_jax.ops.resize import imresize
from input_pipeline import embedded
from input_pipeline.codecs import CODEC_IDS
from input_pipeline.image_files import list_images, read_rgb
from input_pipeline.pipeline import eval_pairs, train_dataset, train_loader
from input_pipeline.skipping import TooManyDamagedError
from input_pipeline.transforms import code_as_jpeg


def test_batches_have_the_promised_form(config):
    batch = batches(config)[0]
    assert batch["lq"].shape == batch["gt"].shape == (4, 16, 16, 3)
    assert batch["lq"].dtype == batch["gt"].dtype == np.float32
    assert batch["qp"].dtype == batch["codec"].dtype == np.int32
    assert 0 <= batch["lq"].min() < batch["lq"].max() <= 1
    assert list(batch["qp"]) == [10] * 4
    assert list(batch["codec"]) == [CODEC_IDS["jpeg"]] * 4
    assert 0.01 < np.abs(batch["lq"] - batch["gt"]).mean() < 0.1


def test_batch_n_depends_on_seed_and_n_alone(config):
    assert_equal(batches(config), batches(config))
    assert_equal(batches(config, steps=(2, 0)), [batches(config)[2], batches(config)[0]])
    other = batches(config, seed=6)
    assert not np.array_equal(other[0]["gt"], batches(config)[0]["gt"])
    first, second = batches(config)[:2]
    assert not np.array_equal(first["gt"], second["gt"])


def test_processes_get_contiguous_slices_of_the_global_batch(config):
    whole = batches(config, batch_size=6)
    parts = [batches(config, batch_size=6, process_index=i, process_count=3) for i in range(3)]
    for step in range(3):
        for key in ("lq", "gt", "qp"):
            joined = np.concatenate([part[step][key] for part in parts])
            np.testing.assert_array_equal(joined, whole[step][key])


def test_every_image_is_seen_equally_often(config, built):
    means = {}
    for path in list_images(built / "source"):
        means[path.stem] = read_rgb(path)
    dataset = train_dataset({**config, "patch_size": 40, "augment": False}, batch_size=5, seed=0)
    seen = dict.fromkeys(means, 0)
    for step in range(60):
        for patch in np.round(dataset[step]["gt"] * 255).astype(np.uint8):
            for name, image in means.items():
                windows = np.lib.stride_tricks.sliding_window_view(image[..., 0], (40, 40))
                if np.any(np.all(windows == patch[..., 0], axis=(2, 3))):
                    seen[name] += 1
                    break
    # Binomial(300, 1/5): mean 60, standard deviation 6.9; five of them. One shuffle spans many
    # repetitions of a source this small, so counts are not exactly equal.
    assert sum(seen.values()) == 300
    assert all(abs(count - 60) < 35 for count in seen.values())


def test_resuming_gives_the_same_batches(config):
    with train_loader(config, batch_size=4, seed=5, num_steps=5) as loader:
        whole = list(loader)
    assert len(whole) == 5
    assert_equal(whole[:3], batches(config))
    with train_loader(config, batch_size=4, seed=5, num_steps=5, start_step=3) as loader:
        assert_equal(list(loader), whole[3:])
    with train_loader(config, batch_size=4, seed=5, num_steps=5, start_step=5) as loader:
        assert list(loader) == []


def test_a_closed_loader_ends(config):
    loader = train_loader(config, batch_size=4, seed=5, num_steps=1000)
    next(loader)
    loader.close()
    loader.close()
    assert list(loader) == []


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [1, 3])
def test_workers_and_resuming_change_nothing(num_workers, config):
    expected = batches(config, steps=range(6))
    parallel = {**config, "num_workers": num_workers, "cache": "memory", "prefetch": 1}
    with train_loader(parallel, batch_size=4, seed=5, num_steps=6, start_step=1) as loader:
        assert_equal(list(loader), expected[1:])


def test_mixture_follows_its_weights_and_labels(config, built):
    mixed = {
        **config,
        "mixture": (
            {"qps": (10, 90), "weight": 3.0},
            {"source": "jpeg", "gt": str(built / "source"), "jpeg_quality": (50, 50)},
        ),
    }
    dataset = train_dataset(mixed, batch_size=40, seed=0)
    labels = np.concatenate([dataset[step]["qp"] for step in range(10)])
    assert set(labels) == {10, 50, 90}
    assert np.sum(labels == 50) == 100  # a quarter of 400, drawn in fixed proportion
    # Binomial(300, 1/2): mean 150, standard deviation 8.7; five of them.
    assert abs(int(np.sum(labels == 10)) - 150) < 44


def test_batches_of_one_element_of_a_mixture(config):
    mixed = {**config, "mixture": ({"weight": 0.75}, {"weight": 0.25})}
    assert batches(mixed, batch_size=1)[0]["gt"].shape == (1, 16, 16, 3)


def test_several_patches_of_an_image(config):
    several = {**config, "patches_per_image": 2}
    batch = batches(several, batch_size=6)[0]
    assert batch["gt"].shape == (6, 16, 16, 3)
    assert len({patch.tobytes() for patch in batch["gt"]}) > 3
    with pytest.raises(ValueError, match="batch_size 3 on 1 processes is not a multiple"):
        batches(several, batch_size=3)


def test_super_resolution_pairs(built, tmp_path):
    folder = built / "source"
    config = {"source": "folder", "gt": str(folder), "patch_size": 8, "augment": False}
    config["eval_gt"] = str(folder)
    batch = batches(config, scale=3)[0]
    assert batch["lq"].shape == (4, 8, 8, 3)
    assert batch["gt"].shape == (4, 24, 24, 3)
    assert list(batch["qp"]) == [-1] * 4
    pairs = eval_pairs(config, scale=3)
    gt = read_rgb(folder / "4.png")  # 44 rows and 60 columns, cropped to 42 and 60
    assert pairs[4].gt.shape == (42, 60, 3)
    expected = np.clip(np.round(imresize(gt[:42].astype(np.float32), 1 / 3)), 0, 255)
    np.testing.assert_array_equal(pairs[4].lq, expected.astype(np.uint8))
    given = tmp_path / "lr"
    given.mkdir()
    for pair in pairs:
        Image.fromarray(255 - pair.lq).save(given / f"{pair.name}.png")
    made = eval_pairs({**config, "eval_lq": str(given)}, scale=3)
    np.testing.assert_array_equal(made[4].lq, 255 - pairs[4].lq)
    np.testing.assert_array_equal(made[4].gt, pairs[4].gt)


def test_gray_models_get_luma(config, built):
    assert batches(config, in_chans=1)[0]["lq"].shape == (4, 16, 16, 1)
    folder = built / "jpeg/quality10"
    evaluation = {**config, "eval_gt": str(folder / "gt"), "eval_lq": str(folder / "lq")}
    pair = eval_pairs(evaluation, in_chans=1)[2]
    expected = np.round(luma(read_rgb(folder / "lq/2.png"))).astype(np.uint8)
    np.testing.assert_array_equal(pair.lq[..., 0], expected)


def test_evaluation_pairs_of_folders_and_jpeg(config, built):
    folder = built / "jpeg/quality50"
    pairs = eval_pairs({**config, "eval_gt": str(folder / "gt"), "eval_lq": str(folder / "lq")})
    assert [pair.name for pair in pairs] == ["0", "1", "2", "3", "4"]
    assert len(pairs[1:3]) == 2
    np.testing.assert_array_equal(pairs[-1].lq, read_rgb(folder / "lq/4.png"))
    np.testing.assert_array_equal(pairs[0].gt, read_rgb(built / "source/0.png"))
    coded = eval_pairs(
        {"source": "jpeg", "eval_gt": str(built / "source"), "eval_jpeg_quality": 50}
    )
    np.testing.assert_array_equal(coded[0].lq, code_as_jpeg(pairs[0].gt, 50, "4:2:0")[0])
    np.testing.assert_array_equal(coded[0].lq, pairs[0].lq)


@pytest.mark.slow
def test_embedded_default_is_vvc(tmp_path, monkeypatch):
    monkeypatch.setitem(embedded.SPLITS, "eval", ("chelsea.png",))
    pairs = eval_pairs({"cache_dir": str(tmp_path), "colors": "paper"})
    error = pairs[0].lq.astype(float) - pairs[0].gt
    assert error.mean() < -0.5  # the darkening that these colours are named after


def test_missing_evaluation_data():
    with pytest.raises(ValueError, match=r"config\.data\.eval_gt is empty.*build-dataset"):
        eval_pairs({"source": "built"})
    with pytest.raises(FileNotFoundError, match="there is no folder 'absent'"):
        eval_pairs({"eval_gt": "absent", "eval_lq": "absent"})
    with pytest.raises(ValueError, match=r"config\.data\.eval_lq is empty"):
        eval_pairs({"source": "built", "eval_gt": "absent"})


def test_files_damaged_after_the_start_are_named(built, tmp_path):
    folder = tmp_path / "tree"
    shutil.copytree(built / "jpeg/quality10", folder)
    for path in (folder / "lq").iterdir():
        path.write_bytes(path.read_bytes()[:400])
    dataset = train_dataset(
        {"source": "built", "root": str(folder), "patch_size": 16}, batch_size=4, seed=0
    )
    with pytest.raises(TooManyDamagedError, match=r"lq/\d\.png: cannot be read as an image"):
        dataset[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"process_index": 2, "process_count": 2}, "process_index is 2 of 2; expected 0 to 1"),
        ({"batch_size": 3, "process_count": 2}, "batch_size 3 does not divide among 2"),
        ({"batch_size": 0}, "batch_size 0"),
    ],
)
def test_wrong_sharding(options, message, config):
    with pytest.raises(ValueError, match=message):
        batches(config, **options)


def test_wrong_start_step(config):
    with pytest.raises(ValueError, match="start_step is 7, expected 0 to num_steps 5"):
        train_loader(config, batch_size=4, seed=0, num_steps=5, start_step=7)
