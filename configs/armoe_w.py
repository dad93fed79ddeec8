"""Small networks with a windowed mixture, for many qualities: hours on two cores.

python -m armoe_jax.main --config configs/armoe_w.py:jpeg --workdir runs/jpeg \
    --config.data.gt=PHOTOGRAPHS --config.data.eval_gt=EVAL
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base

Changes = dict[str, Any]

TRAINING: Changes = {
    "data.cache": "memory",
    "data.patch_size": 64,
    # The logarithm of each patch's squared error: 0.08 dB more after 350 steps than an error
    # relative to the input's.
    "train.loss": "psnr",
    "train.loss_colors": "ycbcr",
    "train.batch_size": 16,
    "train.accumulation_steps": 2,  # a micro-batch stays in a core's cache
    "train.ema_decay": 0.999,
    "optim.schedule": "cosine",
    "optim.warmup_steps": 100,
    "optim.learning_rate": 2e-3,
    "eval.every": 1_000,
    "eval.max_images": 8,
    "checkpoint.every": 250,
    "log.every": 50,
    "log.tensorboard": False,
}

JPEG: Changes = TRAINING | {
    "model.quality_range": (0.0, 8.0),
    "model.interval_head": True,
    "data.source": "jpeg",
    "data.halve_jpeg": True,
    "data.jpeg_quality": (8, 98),
    "data.jpeg_subsampling": ("4:2:0", "4:2:0", "4:2:0", "4:4:4"),
    "data.jpeg_on_grid": True,
    "data.mixture": (
        {"jpeg_quality": (8, 50), "weight": 0.6},
        {"jpeg_quality": (50, 98), "weight": 0.25},
        {"jpeg_quality": (8, 98), "jpeg_on_grid": False, "weight": 0.15},
    ),
    "data.eval_jpeg_quality": 20,
    "train.quality_jitter": 0.1,
    "train.num_steps": 12_000,
}

JPEG_QUALITY: Changes = JPEG | {
    "data.patch_size": 160,  # a smaller one does not show how strongly it was coded
    "data.jpeg_quality": (5, 98),
    "data.jpeg_twice": 0.3,
    "data.mixture": ({"jpeg_on_grid": True}, {"jpeg_on_grid": False}),
    "train.objective": "quality",
    "train.overrated": 4.0,
    "train.batch_size": 16,
    "train.num_steps": 6_000,
    "eval.every": 0,
    "checkpoint.every": 2_000,
}

VVC: Changes = TRAINING | {
    "model.quality_range": (17.0, 42.0),
    "model.grid": 0,
    "data.source": "built",
    "data.codec": "vvc",
    "data.qps": (17, 22, 27, 32, 37, 42),
    "train.num_steps": 12_000,
}

RUNS = {"jpeg": JPEG, "jpeg_quality": JPEG_QUALITY, "vvc": VVC}


def get_config(run: str = "jpeg") -> ConfigDict:
    """Returns the locked configuration of one of RUNS."""
    if run not in RUNS:
        raise ValueError(f"configs/armoe_w.py:{run}: choose one of {', '.join(RUNS)}")
    config = base.get_config()
    with config.unlocked():
        config.model = base.model_config("armoe_w_small")
    config.update_from_flattened_dict(RUNS[run])
    return config
