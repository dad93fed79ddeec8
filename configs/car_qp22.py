"""Artifact removal for VVC at QP 22, as published: 25.6 M parameters, 500,000 steps on DF2K.

armoe-jax build-dataset --source DF2K_DIR --codec vvc --qp 22 --out DATA
armoe-jax build-dataset --source KODAK_DIR --codec vvc --qp 22 --out KODAK
python -m armoe_jax.main --config configs/car_qp22.py --workdir runs/car_qp22 \
    --config.data.gt=DATA/gt --config.data.lq=DATA/lq \
    --config.data.eval_gt=KODAK/gt --config.data.eval_lq=KODAK/lq
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns the locked configuration."""
    return base.changed({"data.codec": "vvc", "data.qp": 22})
