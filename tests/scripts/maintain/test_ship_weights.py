"""Weights of the package: written from a run, described by a card, found, measured, repeated."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import measure_weights as measure
import networks
import numpy as np
import pytest
import ship_weights as ship
import training_record
import training_runs
from flax import traverse_util
from model_card import NOT_MEASURED, render
from skimage.data import astronaut

import configs
from armoe_jax import cli, load_pretrained
from armoe_jax.checkpoints import shipped
from armoe_jax.checkpoints.folder import save_model
from armoe_jax.checkpoints.weights import load_weights
from armoe_jax.images.io import write_image
from armoe_jax.metrics import psnr
from armoe_jax.models.quality_estimator import ESTIMATORS
from armoe_jax.runtime.files import sha256_of
from armoe_jax.training.train import train_and_evaluate
from input_pipeline.codecs import get_codec
from input_pipeline.codecs.base import CodecOptions

ROOT = Path(__file__).parents[3]
NAMES = ("car_small_vvc", "car_small_jpeg")


def check_folder(folder):
    """Returns the names of weights whose record, card and file belong together."""
    names = [path.stem for path in folder.glob("*.safetensors")]
    total = 0
    for name in names:
        weights = folder / f"{name}.safetensors"
        record = json.loads((folder / f"{name}.json").read_text())
        card = (folder / f"{name}.md").read_text()
        assert record["sha256"] == sha256_of(weights)
        assert card == render(record)
        assert record["sha256"] in card
        assert record["num_parameters"] == load_weights(weights).num_parameters
        assert record["num_parameters"] <= 500_000
        training_record.masked(record, {})  # raises at a path of some machine
        total += weights.stat().st_size
    assert total <= 4_000_000
    return names


def test_weights_of_this_package_are_what_their_cards_say():
    folder = shipped.WEIGHTS_FOLDER
    assert set(check_folder(folder)) <= set(NAMES)
    assert "non-commercial" in (folder / "NOTICE.md").read_text()


@pytest.mark.slow
def test_shipped_weights_see_how_strongly_a_photograph_was_coded():
    original = np.ascontiguousarray(astronaut()[:256, :256])
    model = load_weights("car_small_vvc")
    estimator = ESTIMATORS[model.config.quality_estimator](model.config.quality_range)
    params = jax.tree.map(jnp.asarray, model.variables["params"]["quality"])
    codec = get_codec("vvc", CodecOptions(preset="faster"))
    estimates = []
    for qp in (22, 32, 42):
        coded = codec.code(original, qp).image
        x = jnp.asarray(coded[None], jnp.float32) / 255.0
        estimates.append(float(estimator.apply({"params": params}, x)[0]))
        for told in (None, float(qp)):
            restored = load_pretrained("car_small_vvc", coding_quality=told)(coded)
            assert psnr(restored, original) > psnr(coded, original)
    assert estimates[0] + 5 < estimates[1] < estimates[2] - 3


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workdir of 12 steps and the folder of its images."""
    folder = tmp_path_factory.mktemp("run")
    training_runs.write_pairs(folder / "pairs")
    train_and_evaluate(tiny_config(folder / "pairs"), folder / "workdir")
    return folder


def tiny_config(pairs):
    """The configuration of that run."""
    config = configs.load(training_runs.CONFIG, training_runs.tiny_overrides(pairs))
    config.sharding.num_devices = 1
    config.optim.schedule = "cosine"
    return config


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    """A weights folder that holds what `write` has made of the run."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "WEIGHTS_FOLDER", folder)
        patch.chdir(ROOT)
        assert ship.main(write_arguments(run)) == 0
    return folder


@pytest.mark.slow
def test_weights_of_a_run_are_joined_with_others(tmp_path, monkeypatch):
    training_runs.write_pairs(tmp_path / "pairs")
    config = tiny_config(tmp_path / "pairs")
    with config.unlocked():
        config.model = configs.load("configs/armoe_w.py:jpeg", {"model.embed_dim": 8}).model
    changes = {"data.source": "jpeg", "data.lq": "", "train.num_steps": 8, "eval.every": 0}
    config.update_from_flattened_dict(changes)
    train_and_evaluate(config, tmp_path / "workdir")
    own = load_weights(tmp_path / "workdir", key="params_ema")
    other = jax.tree.map(lambda leaf: leaf + 1, own.variables)
    save_model(tmp_path / "other", own.config, other, provenance={})
    monkeypatch.setattr(shipped, "WEIGHTS_FOLDER", tmp_path)
    monkeypatch.chdir(ROOT)
    words = [*write_arguments(tmp_path), "--beyond", str(tmp_path / "other"), "--bounds", "4"]
    assert ship.main(words) == 0
    joined = load_weights("car_small_vvc")
    assert joined.config.specialists == (4.0,)
    params = joined.variables["params"]
    expected = own.variables["params"]
    quality = expected["quality"]
    jax.tree.map(np.testing.assert_array_equal, params["quality"], dict(quality))
    for number, source in ((0, own.variables), (1, other)):
        restoring = {k: v for k, v in source["params"].items() if k != "quality"}
        jax.tree.map(np.testing.assert_array_equal, params[f"specialist_{number}"], restoring)
    check_folder(tmp_path)


@pytest.fixture
def weights_folder(written, tmp_path, monkeypatch):
    """A copy of that folder, in use."""
    folder = tmp_path / "weights"
    shutil.copytree(written, folder)
    monkeypatch.setattr(shipped, "WEIGHTS_FOLDER", folder)
    return folder


def write_arguments(run):
    words = ["write", str(run / "workdir"), "car_small_vvc"]
    words += ["--config", training_runs.CONFIG]
    return [*words, "--place", f"DATA={run / 'pairs'}", "--first-steps", "8"]


@pytest.mark.slow
def test_write(run, weights_folder):
    assert check_folder(weights_folder) == ["car_small_vvc"]
    record = json.loads((weights_folder / "car_small_vvc.json").read_text())
    assert record["step"] == 12
    assert record["config"]["data"]["gt"] == "DATA/train/gt"
    assert len(record["first_losses"]) == 8
    # The run logged the mean of every four of these.
    logged = [x["loss"] for x in training_runs.metrics(run / "workdir") if "loss" in x][:2]
    means = [np.mean(record["first_losses"][i : i + 4]) for i in (0, 4)]
    np.testing.assert_allclose(means, logged, rtol=1e-5)
    words = record["command"].split()
    assert words[:3] == ["python", "-m", "armoe_jax.main"]
    assert "--config.data.gt=DATA/train/gt" in words
    assert "--config.data.patch_size=8" in words
    card = unwrapped((weights_folder / "car_small_vvc.md").read_text())
    assert NOT_MEASURED in card
    assert record["command"] in card
    # Moving averages of the newest checkpoint, with the whole architecture.
    expected = load_weights(run / "workdir", key="params_ema")
    loaded = load_pretrained("car_small_vvc")
    assert loaded.config == expected.config
    for mine, theirs in zip(
        training_leaves(loaded.variables), training_leaves(expected.variables), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def training_leaves(variables):
    import jax

    return jax.tree.leaves(dict(variables))


@pytest.mark.slow
def test_repeat(run, weights_folder, capsys):
    words = ["repeat", "car_small_vvc", "--place", f"DATA={run / 'pairs'}"]
    assert ship.main(words) == 0
    assert "8 losses, bit for bit equal" in capsys.readouterr().out
    path = weights_folder / "car_small_vvc.json"
    record = json.loads(path.read_text())
    record["first_losses"][5] *= 1.01
    path.write_text(json.dumps(record))
    assert ship.main(words) == 1
    assert "ABOVE" in capsys.readouterr().out
    assert ship.main(["repeat", "car_small_vvc"]) == 2
    assert "--place DATA=PATH" in capsys.readouterr().err


@pytest.mark.slow
def test_a_changed_run_is_noticed(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shipped, "WEIGHTS_FOLDER", tmp_path / "weights")
    monkeypatch.chdir(ROOT)
    copy = tmp_path / "workdir"
    shutil.copytree(run / "workdir", copy)
    path = copy / "config.json"
    config = json.loads(path.read_text())
    config["train"]["seed"] += 1
    path.write_text(json.dumps(config))
    words = write_arguments(run)
    words[1] = str(copy)
    assert ship.main(words) == 2
    assert "has changed" in capsys.readouterr().err
    assert not (tmp_path / "weights").exists()


@pytest.mark.slow
def test_measure_and_card(weights_folder, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name in "ab":
        write_image(tmp_path / "gt" / f"{name}.png", rng.integers(0, 256, (32, 48, 3), np.uint8))
    for suffix in (".safetensors", ".json", ".md"):  # one network for both purposes will do
        shutil.copy(
            weights_folder / f"car_small_vvc{suffix}", weights_folder / f"car_small_jpeg{suffix}"
        )
    out = tmp_path / "results"
    words = ["--gt", str(tmp_path / "gt"), "--out", str(out), "--qp", "37", "--quality", "10"]
    assert measure.main(words) == 0
    tables = (out / "tables.md").read_text()
    assert tables in capsys.readouterr().out
    assert "| VVC QP 37 " in tables
    assert "| JPEG quality 10 " in tables
    assert "haar" in tables
    assert ship.main(["card", "car_small_vvc", str(out / "vvc_qp37.json")]) == 0
    report = json.loads((out / "vvc_qp37.json").read_text())
    worst = min(image["gain_psnr_y"] for image in report["images"])
    card = unwrapped((weights_folder / "car_small_vvc.md").read_text())
    assert NOT_MEASURED not in card
    assert f"{report['gain_psnr_y']:+.3f}" in card
    assert f"{worst:+.3f}" in card


def test_without_mixture_only_the_mixture_is_silent(make_variables, tmp_path):
    variables = make_variables(networks.RELEASED)
    save_model(tmp_path / "model", networks.RELEASED, variables, provenance={})
    folder = measure.without_mixture(str(tmp_path / "model"), tmp_path / "silent")
    before = traverse_util.flatten_dict(variables, sep="/")
    after = traverse_util.flatten_dict(load_weights(folder).variables, sep="/")
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {name for name in before if "/moe/out_linear/" in name}
    assert changed
    assert not any(after[name].any() for name in changed)
    with pytest.raises(ValueError, match="no mixture"):
        measure.without_mixture("car_small_jpeg", tmp_path / "none")


def unwrapped(card):
    return card.replace("\n", " ")


@pytest.mark.slow
def test_card_breaks_running_text_only(weights_folder):
    record = json.loads((weights_folder / "car_small_vvc.json").read_text())
    lines = render(record | {"command": f"python {'x' * 200}"}).splitlines()
    long = [line for line in lines if len(line) > 100]
    assert any("xxx" in line for line in long)
    assert all(line.startswith(("    ", "|")) for line in long)


@pytest.mark.slow
def test_card_tells_shares_of_a_mixture(weights_folder):
    record = json.loads((weights_folder / "car_small_vvc.json").read_text())
    data = record["config"]["data"]
    data["mixture"] = []
    assert "of the patches" not in unwrapped(render(record))
    data["mixture"] = [{"qps": [22, 27], "weight": 1.0}, {"qps": [37], "weight": 3.0}]
    assert "; of the patches 25% at QP 22, 27 and 75% at QP 37." in unwrapped(render(record))
    data["mixture"] = [{"patch_grid": 8, "weight": 3.0}, {"patch_grid": 1}]
    assert "75% at multiples of 8 pixels and 25% anywhere." in unwrapped(render(record))
    data["mixture"] = [{"qps": [22], "weight": 0.25}, {"weight": 0.75}]
    assert "25% at QP 22 and 75% at any of these." in unwrapped(render(record))
    data["mixture"] = [{"root": "DATA"}, {"root": "FULL"}]
    assert "; of the patches 50% from DATA and 50% from FULL." in unwrapped(render(record))
    data |= {"source": "jpeg", "mixture": [{"jpeg_quality": [10, 90]}, {"jpeg_quality": [10, 40]}]}
    data["mixture"][0] |= {"jpeg_twice": 0.25, "gt": "MORE"}
    expected = (
        "; of the patches 50% from quality 10 to 90 (25% of them coded twice) from MORE and 50% "
        "from quality 10 to 40."
    )
    assert expected in unwrapped(render(record))


@pytest.mark.slow
def test_card_tells_the_loss_and_a_note(weights_folder):
    record = json.loads((weights_folder / "car_small_vvc.json").read_text())
    assert f"Recipe: {record['config']['train']['loss']} loss, Adam," in unwrapped(render(record))
    record["config"]["train"]["loss_colors"] = "ycbcr"
    record["note"] = "Shortened on the way."
    assert "loss over luma and chroma, weighted 6:1:1, Adam," in unwrapped(render(record))
    assert "images/s. Shortened on the way." in unwrapped(render(record))


def test_folders_get_names_and_back():
    config = {"data": {"gt": "/home/me/data/train", "qps": [22, 27], "lq": ""}}
    named = training_record.masked(config, {"DATA": "/home/me/data"})
    assert named == {"data": {"gt": "DATA/train", "qps": [22, 27], "lq": ""}}
    back = training_record.unmasked(named, {"DATA": "/mnt"})
    assert back == {"data": {"gt": "/mnt/train", "qps": (22, 27), "lq": ""}}
    with pytest.raises(ValueError, match="'/home/me/data/train' is a path of this machine"):
        training_record.masked(config, {"DATA": "/elsewhere"})


def test_facts_of_a_run(tmp_path):
    lines = [
        {"step": 10, "loss": 1.0, "seconds_per_step": 36.0, "images_per_second": 2.0},
        {"step": 10, "eval/psnr_y": 30.5, "eval/lq_psnr_y": 30.0},
        {"step": 20, "loss": 1.0, "seconds_per_step": 72.0, "images_per_second": 1.0},
        {"step": 30, "loss": 1.0, "seconds_per_step": 9e9, "images_per_second": 1.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    # 10 steps of 36 s and 10 of 72 s are 1080 s, 0.3 h; what follows step 20 does not count.
    assert training_record.training_facts(tmp_path, 20) == {
        "hours": 0.3,
        "images_per_second": 1.5,
        "curve": [[10, 30.5, 30.0]],
    }
    assert training_record.check_first_losses(tmp_path, [0.5, 1.5] * 10) == 2
    with pytest.raises(ValueError, match="steps 11 to 20"):
        training_record.check_first_losses(tmp_path, [1.0] * 19 + [1.1])
    with pytest.raises(ValueError, match="no metrics within its first 9 steps"):
        training_record.check_first_losses(tmp_path, [1.0] * 9)


@pytest.mark.slow
def test_demo_trains_when_asked_to(run, tmp_path, monkeypatch, capsys):
    config = tiny_config(run / "pairs")
    monkeypatch.setattr(shipped, "WEIGHTS_FOLDER", tmp_path / "none")
    monkeypatch.setattr("configs.load", lambda path: config)
    assert cli.main(["demo", "-o", str(tmp_path / "out"), "--train", "12"]) == 0
    assert "at step 12" in capsys.readouterr().out
    assert (tmp_path / "out" / "training" / "evaluation.json").is_file()
