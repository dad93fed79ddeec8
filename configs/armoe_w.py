r"""Small networks of the windowed kind, for many qualities: hours on two cores.

The weights for JPEG began with these runs, in this order; PHOTOGRAPHS and EVAL are folders:

python -m armoe_jax.main --config configs/armoe_w.py:jpeg --workdir runs/jpeg \
    --config.data.gt=PHOTOGRAPHS --config.data.eval_gt=EVAL
python -m armoe_jax.main --config configs/armoe_w.py:jpeg_longer --workdir runs/jpeg_longer \
    --config.data.gt=PHOTOGRAPHS --config.data.eval_gt=EVAL --config.train.init_from=runs/jpeg
python -m armoe_jax.main --config configs/armoe_w.py:jpeg_quality --workdir runs/jpeg_quality \
    --config.data.gt=PHOTOGRAPHS --config.data.eval_gt=EVAL \
    --config.train.init_from=runs/jpeg_longer
python -m armoe_jax.main --config configs/armoe_w.py:jpeg_deeper --workdir runs/jpeg_deeper \
    --config.data.gt=PHOTOGRAPHS --config.data.eval_gt=EVAL \
    --config.train.init_from=runs/jpeg_quality

The first two train the network, told each image's quantiser steps; the third, of minutes, its
estimator of the quality alone, for images whose file is gone; the fourth with four pairs more. Two
more continued that with softer photographs beside, a second folder in their mixtures: the card of
the weights has the command of the last. Those for VVC continued the second: vvc, vvc_longer,
vvc_quality. On a CPU set JAX_NUM_CPU_DEVICES to the number of cores.

What short runs decided (350 steps of 16 patches, or as many patches, one seed; mean gain in PSNR-Y
on twelve 256x256 parts of Kodak images at JPEG quality 10 / 20 / 40 / 80, dB):

| change | result |
|---|---|
| eight residual pairs, error relative to the input's, rate 2e-3 | 0.819 / 1.055 / 1.172 / 1.132 |
| seven pairs and two DCT experts (weighted, a tenth slower) | 0.811 / 1.044 / 1.161 / 1.084 |
| offsets learnt for each place of the coding grid | 0.844 / 1.063 / 1.178 / 1.126 |
| and the logarithm of the squared error | 0.917 / 1.123 / 1.247 / 1.212 |
| and rate 4e-3 | 0.843 / 1.077 / 1.214 / 1.191 |
| and rate 2e-3, 700 steps of 8 patches | 0.968 / 1.165 / 1.293 / 1.276 |
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base

Changes = dict[str, Any]

TRAINING: Changes = {
    "model.depth": 4,
    "model.pairs": 2,
    "data.cache": "memory",
    "data.patch_size": 64,
    "train.loss": "psnr",
    "train.loss_colors": "ycbcr",
    "train.batch_size": 8,
    "optim.schedule": "cosine",
    "optim.warmup_steps": 100,
    "optim.learning_rate": 2e-3,
    "eval.every": 2_000,
    "eval.max_images": 4,
    "checkpoint.every": 250,
    "log.every": 50,
    "log.tensorboard": False,
}

JPEG: Changes = TRAINING | {
    "model.experts": (),  # at this size and budget they do not pay, see above
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
    "train.seed": 1,
    "train.num_steps": 10_800,
}

UNCODED: Changes = {  # as good as: every step is 1 at quality 100
    "jpeg_quality": (97, 100),
    "jpeg_subsampling": ("4:4:4",),
    "jpeg_on_grid": False,
}

JPEG_LONGER: Changes = JPEG | {
    "data.mixture": (
        {"jpeg_quality": (8, 16), "weight": 0.2},
        {"jpeg_quality": (8, 50), "weight": 0.35},
        {"jpeg_quality": (50, 98), "weight": 0.2},
        {"jpeg_quality": (10, 98), "jpeg_twice": 1.0, "weight": 0.1},
        {"jpeg_quality": (8, 98), "jpeg_twice": 0.2, "jpeg_on_grid": False, "weight": 0.12},
        UNCODED | {"weight": 0.03},
    ),
    "train.seed": 3,
    "optim.learning_rate": 1e-3,
}

JPEG_QUALITY: Changes = JPEG | {
    "data.patch_size": 160,  # a smaller one does not show how strongly it was coded
    "data.jpeg_quality": (5, 98),
    "data.jpeg_twice": 0.3,
    "data.mixture": (
        {"jpeg_on_grid": True, "weight": 0.4},
        {"jpeg_on_grid": False, "weight": 0.4},
        UNCODED | {"jpeg_twice": 0.0, "weight": 0.2},
    ),
    "train.objective": "quality",
    "train.overrated": 4.0,
    "train.batch_size": 16,
    "train.seed": 2,
    "train.num_steps": 4_000,
    "eval.every": 0,
    "checkpoint.every": 2_000,
}

JPEG_DEEPER: Changes = JPEG_LONGER | {  # from those weights; the added blocks start untrained
    "model.depth": 6,
    "train.init_partial": True,
    "train.seed": 8,
    "train.num_steps": 6_000,
}

VVC: Changes = TRAINING | {
    "model.experts": (),
    "model.quality_range": (17.0, 42.0),
    "model.quality_estimator": "attention",
    "model.grid": 0,
    "data.source": "built",
    "data.codec": "vvc",
    "data.qps": (17, 22, 27, 32, 37, 42),
    "train.init_partial": True,  # from weights for JPEG, whose features serve here too
    "train.seed": 4,
    "train.num_steps": 10_000,
    "optim.learning_rate": 1.5e-3,
}

VVC_LONGER: Changes = VVC | {  # from those weights; the added blocks start untrained
    "model.depth": 6,
    "data.mixture": (
        {"qps": (22, 27), "weight": 0.45},  # they gain least
        {"qps": (17, 22, 27, 32, 37, 42), "weight": 0.55},
    ),
    "train.seed": 6,
    "optim.learning_rate": 1e-3,
}

VVC_SPECIALISTS: Changes = VVC_LONGER | {  # from joined weights, see join_specialists.py
    "model.specialists": (28.0,),
    "data.mixture": (
        {"qps": (22,), "weight": 0.2},
        {"qps": (22, 27, 32, 37), "weight": 0.6},
        {"qps": (17, 22, 27, 32, 37, 42), "weight": 0.2},
    ),
    "train.init_partial": False,
    # Images that follow each other: those of a batch have different specialists.
    "train.accumulation_steps": 8,
    "train.quality_jitter": 1.5,
    "train.seed": 7,
    "train.num_steps": 2_000,
    "optim.learning_rate": 3e-4,
}

VVC_QUALITY: Changes = VVC_LONGER | {
    # An image starts with a whole coding unit, but for what was cut from another.
    "data.mixture": ({"patch_grid": 8, "weight": 0.8}, {"weight": 0.2}),
    "data.patch_size": 160,
    "train.objective": "quality",
    # With 4 and 16 photographs left out of the training gain alike; softer ones need more.
    "train.overrated": 32.0,
    "train.batch_size": 16,
    "train.seed": 5,
    "train.num_steps": 12_000,
    "optim.learning_rate": 2e-3,
    "eval.every": 0,
    "checkpoint.every": 2_000,
}

RUNS = {
    "jpeg": JPEG,
    "jpeg_longer": JPEG_LONGER,
    "jpeg_quality": JPEG_QUALITY,
    "jpeg_deeper": JPEG_DEEPER,
    "vvc": VVC,
    "vvc_longer": VVC_LONGER,
    "vvc_specialists": VVC_SPECIALISTS,
    "vvc_quality": VVC_QUALITY,
}


def get_config(run: str = "jpeg") -> ConfigDict:
    """Returns the locked configuration of one of RUNS."""
    if run not in RUNS:
        raise ValueError(f"configs/armoe_w.py:{run}: choose one of {', '.join(RUNS)}")
    config = base.get_config()
    with config.unlocked():
        config.model = base.model_config("armoe_w_small")
    config.update_from_flattened_dict(RUNS[run])
    return config
