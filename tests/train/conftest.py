"""Tiny pairs of images and a tiny configuration, shared by the tests of training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from configs import base

NUM_TRAIN, NUM_EVAL = 4, 2


def write_pairs(folder: Path, count: int, seed: int) -> None:
    """Writes 32 x 24 images and noisy copies of them, as folder/gt and folder/lq."""
    rng = np.random.default_rng(seed)
    for kind in ("gt", "lq"):
        (folder / kind).mkdir(parents=True)
    ramp = np.add.outer(np.linspace(0, 150, 32), np.linspace(0, 60, 24))[..., None]
    for i in range(count):
        gt = np.clip(ramp + rng.normal(0, 12, (32, 24, 3)), 0, 255).astype(np.uint8)
        lq = np.clip(gt - 4.0 + rng.normal(0, 6, gt.shape), 0, 255).astype(np.uint8)
        Image.fromarray(gt).save(folder / "gt" / f"image{i}.png")
        Image.fromarray(lq).save(folder / "lq" / f"image{i}.png")


@pytest.fixture(scope="session")
def pairs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders train/{gt,lq} and eval/{gt,lq}."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder / "train", NUM_TRAIN, seed=1)
    write_pairs(folder / "eval", NUM_EVAL, seed=2)
    return folder


def tiny_overrides(pairs: Path) -> dict[str, Any]:
    """Returns the fields that make the base configuration tiny."""
    return {
        "data.source": "folder",
        "data.gt": str(pairs / "train/gt"),
        "data.lq": str(pairs / "train/lq"),
        "data.eval_gt": str(pairs / "eval/gt"),
        "data.eval_lq": str(pairs / "eval/lq"),
        "data.patch_size": 8,
        "model.embed_dim": 32,
        "model.depth": (1,),
        "model.num_heads": (2,),
        "model.split_size": (4, 4),
        "model.experts": ("dct", "haar"),
        "model.global_skip": True,
        "train.loss": "l2",
        "train.batch_size": 8,
        "train.num_steps": 12,
        "checkpoint.every": 3,
        "eval.every": 6,
        "log.every": 4,
        "log.tensorboard": False,
    }


@pytest.fixture
def tiny_config(pairs_dir: Path) -> ConfigDict:
    """The base configuration with a network of one block, 8 x 8 patches and 12 steps."""
    config = base.get_config()
    config.update_from_flattened_dict(tiny_overrides(pairs_dir))
    config.sharding.num_devices = 1
    return config


def flags_of(overrides: dict[str, Any]) -> list[str]:
    """Returns overrides as command line flags."""
    return [f"--config.{name}={value}" for name, value in overrides.items()]
