"""Light super-resolution x2, as published: 845 K parameters, 500,000 steps on DIV2K.

python -m armoe_jax.main --config configs/light_sr_x2.py --workdir runs/light_sr_x2 \
    --config.data.gt=DIV2K/HR --config.data.lq=DIV2K/LR_bicubic/X2 \
    --config.data.eval_gt=Set5/HR --config.data.eval_lq=Set5/LR_bicubic/X2
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns the locked configuration."""
    config = base.get_config()
    with config.unlocked():
        config.model = base.model_config("light_sr_x2")
    config.eval.crop_border = 2
    return config
