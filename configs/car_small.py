"""Small blind networks for many qualities, as they come with the package: hours on two cores.

Each is trained in several runs, one from the other:

python -m armoe_jax.main --config configs/car_small.py:jpeg --workdir runs/jpeg \
    --config.data.gt=DATA/vvc/qp17/gt --config.data.eval_gt=EVAL/gt
python -m armoe_jax.main --config configs/car_small.py:jpeg_strong --workdir runs/jpeg_strong \
    --config.data.gt=DATA/vvc/qp17/gt --config.data.eval_gt=EVAL/gt \
    --config.train.init_from=runs/jpeg
python -m armoe_jax.main --config configs/car_small.py:vvc --workdir runs/vvc \
    --config.data.root=DATA --config.data.eval_gt=EVAL/gt --config.data.eval_lq=EVAL/lq \
    --config.train.init_from=runs/jpeg
python -m armoe_jax.main --config configs/car_small.py:vvc_even --workdir runs/vvc_even \
    "--config.data.mixture=({'root': 'DATA'}, {'root': 'FULL'})" \
    --config.data.eval_gt=EVAL/gt --config.data.eval_lq=EVAL/lq \
    --config.train.init_from=runs/vvc
python -m armoe_jax.main --config configs/car_small.py:vvc_even --workdir runs/vvc_longer \
    "--config.data.mixture=({'root': 'DATA'}, {'root': 'FULL'})" \
    --config.data.eval_gt=EVAL/gt --config.data.eval_lq=EVAL/lq \
    --config.train.init_from=runs/vvc_even --config.train.num_steps=9500 --config.train.seed=11
python -m armoe_jax.main --config configs/car_small.py:vvc_adaptive --workdir runs/vvc_adaptive \
    "--config.data.mixture=({'root': 'DATA'}, {'root': 'FULL'})" \
    --config.data.eval_gt=EVAL/gt --config.data.eval_lq=EVAL/lq \
    --config.train.init_from=runs/vvc_longer --config.train.init_partial=True
python -m armoe_jax.main --config configs/car_small.py:vvc_adaptive --workdir runs/vvc_finer \
    "--config.data.mixture=({'root': 'DATA'}, {'root': 'FULL'})" \
    --config.data.eval_gt=EVAL/gt --config.data.eval_lq=EVAL/lq \
    --config.train.init_from=runs/vvc_adaptive --config.train.num_steps=5500 \
    --config.train.seed=61 --config.optim.learning_rate=4e-4
python -m armoe_jax.main --config configs/car_small.py:vvc_quality --workdir runs/vvc_quality \
    "--config.data.mixture=({'root': 'DATA'}, {'root': 'FULL'})" \
    --config.data.eval_gt=EVAL/gt --config.data.eval_lq=EVAL/lq \
    --config.train.init_from=runs/vvc_finer
python -m armoe_jax.main --config configs/car_small.py:vvc_adaptive --workdir runs/vvc_finest \
    "--config.data.mixture=({'root': 'DATA'}, {'root': 'FULL'})" \
    --config.data.eval_gt=EVAL/gt --config.data.eval_lq=EVAL/lq \
    --config.train.init_from=runs/vvc_quality --config.train.num_steps=2300 \
    --config.train.seed=71 --config.optim.learning_rate=4e-4
python -m armoe_jax.main --config configs/car_small.py:vvc_quality --workdir runs/vvc_final \
    "--config.data.mixture=({'root': 'DATA'}, {'root': 'FULL'})" \
    --config.data.eval_gt=EVAL/gt --config.data.eval_lq=EVAL/lq \
    --config.train.init_from=runs/vvc_finest --config.train.num_steps=8000

The network for VVC starts from that for JPEG, whose artifacts are stronger: after 500 steps it
gained more than one that started from eight thousand steps on VVC (+0.069 against +0.053 dB). The
last five runs make it adapt to the QP: three tell it the QPs; two, of minutes, train its estimator
of them alone, which the others leave as it is. DATA is what `armoe-jax build-dataset --codec vvc
--qp 17 22 27 32 37 42 --preset faster --halve jpeg` writes; FULL the same of BSDS500's images
alone, without --halve.
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

RUNS = {
    "vvc": VVC,
    "vvc_even": VVC_EVEN,
    "vvc_adaptive": VVC_ADAPTIVE,
    "vvc_quality": VVC_QUALITY,
    "jpeg": JPEG,
    "jpeg_strong": JPEG_STRONG,
}


def get_config(run: str = "vvc") -> ConfigDict:
    """Returns the locked configuration of one of RUNS."""
    if run not in RUNS:
        raise ValueError(f"configs/car_small.py:{run}: choose one of {', '.join(RUNS)}")
    config = base.get_config()
    config.update_from_flattened_dict(NETWORK | TRAINING | RUNS[run])
    return config
