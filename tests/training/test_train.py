"""What is noticed before anything is computed."""

import json
import types

import numpy as np
import pytest

from armoe_jax.runtime.locks import InUseError, locked
from armoe_jax.training import setup
from armoe_jax.training.checkpointer import Checkpointer
from armoe_jax.training.memory_advice import OutOfMemoryError
from armoe_jax.training.resume import TRAINING_SET_FILE
from armoe_jax.training.train import train_and_evaluate


def test_a_second_run_in_a_workdir_is_refused(tiny_config, tmp_path):
    with (
        locked(tmp_path / ".lock"),
        pytest.raises(InUseError, match=f"{tmp_path} is in use by process"),
    ):
        train_and_evaluate(tiny_config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_shorter_run_than_was_taken_is_refused(tiny_config, tmp_path, monkeypatch):
    restored = types.SimpleNamespace(step=np.int32(20)), {"validated": True}
    monkeypatch.setattr(Checkpointer, "restore", lambda self, like, check: restored)
    with pytest.raises(ValueError, match=r"num_steps is 12, but .* has taken 20 steps already"):
        train_and_evaluate(tiny_config, tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("eval.tile", "7", "tile is 7, expected an even number"),
        ("eval.crop_border", 50, "crop_border is 50, which leaves nothing of image"),
        ("eval.crop_border", -1, "eval.crop_border is -1"),
        ("train.ema_decay", 2.0, "train.ema_decay is 2.0"),
        ("train.charbonnier_eps", 0.0, "train.charbonnier_eps is 0.0"),
        ("train.load_balancing_weight", float("nan"), "train.load_balancing_weight is nan"),
        ("optim.eps", 0.0, "optim.eps is 0.0"),
        ("model.embed_dim", 0, "embed_dim=0"),
    ],
)
def test_settings_are_checked_before_the_first_step(tiny_config, tmp_path, field, value, words):
    tiny_config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=words):
        train_and_evaluate(tiny_config, tmp_path)
    assert not list(tmp_path.glob("checkpoints/*"))


def test_a_truncated_evaluation_image_is_named_at_the_start(tiny_config, tmp_path, pairs_dir):
    folder = tmp_path / "eval"
    for kind in ("gt", "lq"):
        (folder / kind).mkdir(parents=True)
        for path in (pairs_dir / "eval" / kind).iterdir():
            data = path.read_bytes()
            cut = len(data) // 2 if (kind, path.stem) == ("lq", "image1") else len(data)
            (folder / kind / path.name).write_bytes(data[:cut])
    tiny_config.data.eval_gt, tiny_config.data.eval_lq = str(folder / "gt"), str(folder / "lq")
    with pytest.raises(ValueError, match=r"image1\.png"):
        train_and_evaluate(tiny_config, tmp_path / "run")


def test_a_run_notes_its_images_and_advises_on_memory(tiny_config, tmp_path, monkeypatch):
    def compile_step(parts):
        raise MemoryError("Unable to allocate 8 TiB")

    monkeypatch.setattr(setup, "compile_step", compile_step)
    with pytest.raises(OutOfMemoryError, match=r"lower train\.batch_size"):
        train_and_evaluate(tiny_config, tmp_path)
    noted = json.loads((tmp_path / TRAINING_SET_FILE).read_text())
    assert sorted(noted) == [f"image{i}" for i in range(4)]
