"""Fine-tunes CAR from one QP to another, given as argument, at half the rate for half the steps.

python -m armoe_jax.main --config configs/car_finetune.py:37 --workdir runs/car_qp37 \
    --config.train.init_from=runs/car_qp22 \
    --config.data.gt=DATA/gt --config.data.lq=DATA/lq
"""

from ml_collections import ConfigDict

from configs import base


def get_config(qp: str = "37") -> ConfigDict:
    """Returns the locked configuration.

    Args:
        qp: Target QP; set train.init_from to the run or checkpoint to start from.
    """
    config = base.get_config()
    config.data.codec = "vvc"
    config.data.qp = int(qp)
    config.train.num_steps //= 2
    config.optim.learning_rate /= 2
    config.optim.milestones = tuple(step // 2 for step in config.optim.milestones)
    return config
