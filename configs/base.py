"""Every field of a training run, with the published defaults for CAR.

The released code has no training script; these defaults follow the published settings of the same
family of networks (DAT, RGT, CAT): 500,000 steps of 32 patches of 64 x 64, Adam, L1.

Change fields on the command line: --config.train.num_steps=1000 --config.data.gt=DIR ...
A misspelt field or a value of the wrong type is refused.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from armoe_jax.models import VARIANTS
from armoe_jax.models.build import execution_defaults
from input_pipeline.pipeline import default_config


def get_config() -> ConfigDict:
    """Returns the locked configuration."""
    config = ConfigDict()
    config.model = model_config("car")
    config.data = ConfigDict(default_config())
    config.train = _train()
    config.optim = _optim()
    config.eval = _eval()
    config.checkpoint = ConfigDict({"every": 5_000, "keep": 3})
    config.log = ConfigDict({"every": 100, "tensorboard": True})
    config.profile = ConfigDict({"first_step": 10, "num_steps": 0})
    config.sharding = ConfigDict({"fsdp": False, "num_devices": 0})  # 0: all devices
    config.distributed = _distributed()
    return config.lock()


def changed(changes: Mapping[str, Any]) -> ConfigDict:
    """Returns the locked configuration with other values of some fields, named "group.field"."""
    config = get_config()
    config.update_from_flattened_dict(changes)
    return config


def model_config(variant: str) -> ConfigDict:
    """Returns the fields of a variant's architecture, and of how it is run.

    The latter are: dispatch ("capacity": sparse; "dense": all experts), capacity_factor, scan,
    remat and dtype ("float32" or "bfloat16").
    """
    architecture = VARIANTS[variant]
    fields = dataclasses.asdict(architecture)
    if "qk_scale" in fields:
        fields["qk_scale"] = config_dict.placeholder(float)
    return ConfigDict(fields | execution_defaults(architecture))


def _train() -> ConfigDict:
    return ConfigDict(
        {
            "num_steps": 500_000,
            "batch_size": 32,  # of all devices and processes together
            "accumulation_steps": 1,  # micro-batches that one batch is split into
            "seed": 10,
            "loss": "l1",  # "l1" | "charbonnier" | "l2" | "psnr" | "rmse"
            "charbonnier_eps": 1e-3,
            "loss_colors": "rgb",  # "ycbcr": 6:1:1 weights, for images of subsampled chroma
            # None: 0.01 with sparse (capacity) dispatch, 0 with dense.
            "load_balancing_weight": config_dict.placeholder(float),
            # "quality": the estimator alone of a network with model.quality_range; after the rest.
            "objective": "restoration",
            # Weight of an estimate that is too strong: it harms an image whose coding is mild, but
            # one that is too mild only gains less. For VVC: with equal weights photographs of QP
            # 22 are taken for 27, and lose half of their gain; with 4 for 25.5, with 16 for 23.7,
            # but smooth ones for 28, and come out worse than they went in.
            "overrated": 64.0,
            "quality_jitter": 2.0,  # deviation of the qualities that such a network is told
            "ema": True,
            "ema_decay": 0.999,
            "max_skipped_in_a_row": 10,  # non-finite steps before the run stops
            "init_from": "",  # checkpoint, workdir or name of shipped weights to start from
            "init_key": "auto",  # "auto" | "params" | "params_ema"
            "init_partial": False,  # load what fits, list the rest
        }
    )


def _optim() -> ConfigDict:
    return ConfigDict(
        {
            "learning_rate": 2e-4,
            "schedule": "multistep",  # "multistep" | "cosine" | "constant"
            "milestones": (250_000, 400_000, 450_000, 475_000),
            "gamma": 0.5,
            "restarts": (),  # steps at which the rate returns to restart_weights x learning_rate
            "restart_weights": (),
            "final_fraction": 0.0,  # of the learning rate, at the end of the cosine
            "warmup_steps": 0,
            "b1": 0.9,
            "b2": 0.99,
            "eps": 1e-8,
            "clip_norm": 0.0,  # largest gradient norm; 0: no clipping
        }
    )


def _eval() -> ConfigDict:
    return ConfigDict(
        {
            "every": 5_000,  # steps between validations; 0: only after the last step
            "crop_border": 0,
            "tile": "none",  # "none" | "auto" | "released" | a number of pixels
            "overlap": 32,
            "max_images": 0,  # of the evaluation set during training; 0: all
            "sample_images": 4,  # shown in TensorBoard
            "brightness_baseline": False,  # also report the gain of a constant correction
        }
    )


def _distributed() -> ConfigDict:
    return ConfigDict(
        {
            "enabled": False,
            # Found out from the cluster's environment where empty or negative.
            "coordinator_address": "",
            "num_processes": -1,
            "process_id": -1,
            "heartbeat_timeout": 100,  # seconds until a silent process counts as dead
        }
    )
