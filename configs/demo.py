"""The main job in small, on photographs inside an installed package: minutes on a laptop.

python -m armoe_jax.main --config configs/demo.py --workdir demo_output

Codes the embedded images with VVC at QP 27, trains a small network on some of them, restores the
others, and prints how much nearer they came to the originals. Run it again to continue or to
repeat the evaluation.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns the locked configuration."""
    config = base.get_config()
    config.data.source = "embedded"
    config.data.codec = "vvc"
    config.data.qp = 27
    config.data.preset = "faster"
    # As in the published tables; the gain contains a constant brightness error (reported apart).
    config.data.colors = "paper"
    config.data.patch_size = 48
    config.data.cache = "memory"

    config.model.embed_dim = 32
    config.model.depth = (2, 2)
    config.model.num_heads = (4, 4)
    config.model.split_size = (8, 16)
    # The untrained network is the identity; squared-error-like losses leave it, L1 does not.
    config.model.global_skip = True
    config.train.loss = "charbonnier"

    config.train.num_steps = 600
    config.train.batch_size = 8
    config.optim.learning_rate = 1e-3
    config.optim.schedule = "cosine"
    config.eval.every = 300
    config.eval.brightness_baseline = True
    config.checkpoint.every = 100
    config.log.every = 50
    return config
