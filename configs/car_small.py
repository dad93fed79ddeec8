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
python -m armoe_jax.main --config configs/car_small.py:vvc_quality --workdir runs/vvc_quality \
    "--config.data.mixture=({'root': 'DATA'}, {'root': 'FULL'})" \
    --config.data.eval_gt=EVAL/gt --config.data.eval_lq=EVAL/lq \
    --config.train.init_from=runs/vvc_adaptive

The network for VVC starts from that for JPEG, whose artifacts are stronger: after 500 steps it
gained more than one that started from eight thousand steps on VVC (+0.069 against +0.053 dB). The
last two runs make it adapt to the QP: the first tells it the QPs, the second, of minutes, trains
its estimator of them. DATA is what `armoe-jax build-dataset --codec vvc --qp 17 22 27 32 37 42
--preset faster --halve jpeg` writes; FULL the same of BSDS500's images alone, without --halve.
"""

from ml_collections import ConfigDict

from configs import base

RUNS = ("vvc", "vvc_even", "vvc_adaptive", "vvc_quality", "jpeg", "jpeg_strong")


def get_config(codec: str = "vvc") -> ConfigDict:
    """Returns the locked configuration of one of RUNS."""
    config = base.get_config()
    if codec not in RUNS:
        raise ValueError(f"configs/car_small.py:{codec}: choose one of {', '.join(RUNS)}")
    if codec.startswith("vvc"):
        config.data.source = "built"
        config.data.codec = "vvc"
        config.data.qps = (17, 22, 27, 32, 37, 42)
        # "charbonnier" (nearly a squared error) lets the strongest artifacts rule and harms QP 22;
        # with "psnr" the mildest rule, and the network stays the identity.
        config.train.loss = "rmse"
        config.train.num_steps = 7_500
        config.optim.learning_rate = 8e-4
    else:
        config.data.source = "jpeg"
        config.data.jpeg_quality = (10, 90)
        config.data.jpeg_subsampling = ("4:2:0", "4:4:4")
        config.data.mixture = ({"jpeg_quality": (10, 90)}, {"jpeg_quality": (10, 40)})
        config.data.eval_jpeg_quality = 10
        config.train.loss = "charbonnier"
        config.train.num_steps = 12_000
        config.optim.learning_rate = 1e-3
    config.data.cache = "memory"
    config.data.patch_size = 40

    config.model.embed_dim = 64
    config.model.depth = (1,)
    config.model.num_heads = (2,)
    config.model.split_size = (4, 8)
    config.model.mlp_ratio = 2.0
    config.model.resi_connection = "3conv"
    config.model.global_skip = True
    # Corrections are of a gray level or two: with a range of 1 they are smaller than what a step of
    # Adam adds at random, and nothing is learnt. SwinIR's networks for JPEG have 255, too.
    config.model.img_range = 255.0

    # In RGB most of the error comes from subsampled chroma and hides what luma could gain.
    config.train.loss_colors = "ycbcr"
    config.train.load_balancing_weight = 0.1
    config.train.batch_size = 8
    config.train.accumulation_steps = 2  # a micro-batch stays in a core's cache: a quarter faster
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 200
    config.eval.every = 2_000
    config.eval.max_images = 8
    config.checkpoint.every = 500
    config.log.every = 50
    config.log.tensorboard = False
    if codec in ("vvc_even", "vvc_adaptive", "vvc_quality"):
        # From weights that gain something already, the mean gain in dB itself can be trained.
        config.train.loss = "psnr"
        config.train.num_steps = 4_000
        config.train.batch_size = 16
        config.train.accumulation_steps = 4
        config.optim.learning_rate = 5e-4
        config.eval.every = 1_000
    if codec in ("vvc_adaptive", "vvc_quality"):
        config.model.quality_range = (17.0, 42.0)
    if codec == "vvc_adaptive":
        config.train.seed = 52
        config.train.num_steps = 9_000
        config.optim.learning_rate = 6e-4
    elif codec == "vvc_quality":
        config.data.patch_size = 160  # a smaller one does not show how strongly it was coded
        config.train.seed = 53
        config.train.objective = "quality"
        config.train.num_steps = 16_000
        config.train.accumulation_steps = 1
        config.optim.learning_rate = 2e-3
        config.eval.every = 0
        config.checkpoint.every = 4_000
        config.log.every = 100
    elif codec == "jpeg_strong":
        config.data.mixture = (
            {"jpeg_quality": (10, 90)},
            {"jpeg_quality": (10, 30)},
            {"jpeg_quality": (8, 14)},
        )
        config.train.num_steps = 6_000
        config.optim.learning_rate = 6e-4
    return config
