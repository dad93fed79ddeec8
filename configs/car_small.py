"""Small blind networks for many qualities, as came with the package before: hours on two cores.

Those in the box now are of `configs/armoe_w.py`.

Each is trained in several runs, one from the other, in the order of RUNS. Those for JPEG:

python -m armoe_jax.main --config configs/car_small.py:jpeg --workdir runs/jpeg \
    --config.data.gt=DATA/vvc/qp17/gt --config.data.eval_gt=EVAL/gt
python -m armoe_jax.main --config configs/car_small.py:jpeg_strong --workdir runs/jpeg_strong \
    --config.data.gt=DATA/vvc/qp17/gt --config.data.eval_gt=EVAL/gt \
    --config.train.init_from=runs/jpeg

Those for VVC, of which the first starts from runs/jpeg and has no mixture:

python -m armoe_jax.main --config configs/car_small.py:RUN --workdir runs/RUN \
    --config.data.root=DATA --config.data.eval_gt=EVAL/gt --config.data.eval_lq=EVAL/lq \
    "--config.data.mixture=({'root': 'DATA'}, {'root': 'FULL'})" \
    --config.train.init_from=runs/PREVIOUS

The mixture of vvc_robust has {'root': 'FULL', 'qps': (22, 27, 32, 37)} as a third member. DATA is
what `armoe-jax build-dataset --codec vvc --qp 17 22 27 32 37 42 --preset faster --halve jpeg`
writes; FULL the same of BSDS500's images alone, without --halve.

The network for VVC starts from that for JPEG, whose artifacts are stronger: after 500 steps it
gained more than one that started from eight thousand steps on VVC (+0.069 against +0.053 dB). From
vvc_adaptive on it adapts to the QP: some runs tell it the QPs, with an error; the others, of
minutes, train its estimator of them alone, which the former leave as it is.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base

Changes = dict[str, Any]

NETWORK: Changes = {
    "model.embed_dim": 64,
    "model.depth": (1,),
    "model.num_heads": (2,),
    "model.split_size": (4, 8),
    "model.mlp_ratio": 2.0,
    "model.resi_connection": "3conv",
    "model.global_skip": True,
    # Corrections are of a gray level or two: with a range of 1 they are smaller than what a step of
    # Adam adds at random, and nothing is learnt. SwinIR's networks for JPEG have 255, too.
    "model.img_range": 255.0,
}

TRAINING: Changes = {
    "data.cache": "memory",
    "data.patch_size": 40,
    # In RGB most of the error comes from subsampled chroma and hides what luma could gain.
    "train.loss_colors": "ycbcr",
    "train.load_balancing_weight": 0.1,
    "train.batch_size": 8,
    "train.accumulation_steps": 2,  # a micro-batch stays in a core's cache: a quarter faster
    "optim.schedule": "cosine",
    "optim.warmup_steps": 200,
    "eval.every": 2_000,
    "eval.max_images": 8,
    "checkpoint.every": 500,
    "log.every": 50,
    "log.tensorboard": False,
}

JPEG: Changes = {
    "data.source": "jpeg",
    "data.jpeg_quality": (10, 90),
    "data.jpeg_subsampling": ("4:2:0", "4:4:4"),
    "data.mixture": ({"jpeg_quality": (10, 90)}, {"jpeg_quality": (10, 40)}),
    "data.eval_jpeg_quality": 10,
    "train.loss": "charbonnier",
    "train.num_steps": 12_000,
    "optim.learning_rate": 1e-3,
}

JPEG_STRONG: Changes = JPEG | {
    "data.mixture": (
        {"jpeg_quality": (10, 90)},
        {"jpeg_quality": (10, 30)},
        {"jpeg_quality": (8, 14)},
    ),
    "train.num_steps": 6_000,
    "optim.learning_rate": 6e-4,
}

VVC: Changes = {
    "data.source": "built",
    "data.codec": "vvc",
    "data.qps": (17, 22, 27, 32, 37, 42),
    # "charbonnier" (nearly a squared error) lets the strongest artifacts rule and harms QP 22;
    # with "psnr" the mildest rule, and the network stays the identity.
    "train.loss": "rmse",
    "train.num_steps": 7_500,
    "optim.learning_rate": 8e-4,
}

VVC_EVEN: Changes = VVC | {
    # From weights that gain something already, the mean gain in dB itself can be trained.
    "train.loss": "psnr",
    "train.num_steps": 4_000,
    "train.batch_size": 16,
    "train.accumulation_steps": 4,
    "optim.learning_rate": 5e-4,
    "eval.every": 1_000,
}

VVC_ADAPTIVE: Changes = VVC_EVEN | {
    "model.quality_range": (17.0, 42.0),
    "train.seed": 52,
    "train.num_steps": 9_000,
    "optim.learning_rate": 6e-4,
}

VVC_QUALITY: Changes = VVC_ADAPTIVE | {
    "data.patch_size": 160,  # a smaller one does not show how strongly it was coded
    "train.seed": 53,
    "train.objective": "quality",
    "train.num_steps": 16_000,
    "train.accumulation_steps": 1,
    "optim.learning_rate": 2e-3,
    "eval.every": 0,
    "checkpoint.every": 4_000,
    "log.every": 100,
}

FINER: Changes = VVC_ADAPTIVE | {"optim.learning_rate": 4e-4}

RUNS = {
    "jpeg": JPEG,
    "jpeg_strong": JPEG_STRONG,
    "vvc": VVC,
    "vvc_even": VVC_EVEN,
    "vvc_longer": VVC_EVEN | {"train.num_steps": 9_500, "train.seed": 11},
    "vvc_adaptive": VVC_ADAPTIVE | {"train.init_partial": True},
    "vvc_finer": FINER | {"train.num_steps": 5_500, "train.seed": 61},
    "vvc_quality": VVC_QUALITY,
    "vvc_finest": FINER | {"train.num_steps": 2_300, "train.seed": 71},
    "vvc_careful": VVC_QUALITY | {"train.num_steps": 8_000},
    # It is told the QPs with larger errors, nearer to those that estimates have.
    "vvc_robust": FINER
    | {"train.num_steps": 14_000, "train.seed": 81, "train.quality_jitter": 3.0},
    "vvc_final": VVC_QUALITY | {"train.num_steps": 8_000},
}


def get_config(run: str = "vvc") -> ConfigDict:
    """Returns the locked configuration of one of RUNS."""
    if run not in RUNS:
        raise ValueError(f"configs/car_small.py:{run}: choose one of {', '.join(RUNS)}")
    return base.changed(NETWORK | TRAINING | RUNS[run])
