"""A larger network with a windowed mixture, for many qualities: half an hour of one large GPU.

For JPEG, which is coded on the fly, originals are all that is needed:

python -m armoe_jax.main --config configs/car_base.py:jpeg --workdir runs/base_jpeg \
    --config.data.gt=PHOTOGRAPHS --config.data.eval_gt=EVAL

For VVC, DATA is what `armoe-jax build-dataset --codec vvc --qp 17 22 27 32 37 42` writes:

python -m armoe_jax.main --config configs/car_base.py:vvc --workdir runs/base_vvc \
    --config.data.root=DATA --config.data.eval_gt=EVAL/gt --config.data.eval_lq=EVAL/lq

The learning rate falls to the end of train.num_steps: set it to what the machine does in the time
there is. A run that is stopped is continued by the same command.
"""

from ml_collections import ConfigDict

from configs import armoe_w, base

ACCELERATOR: armoe_w.Changes = {
    "model.dtype": "bfloat16",
    "data.num_workers": 14,  # of 16 cores
    "train.batch_size": 512,  # 2 million pixels: small networks leave a large GPU idle below that
    "train.accumulation_steps": 1,
    "train.num_steps": 30_000,
    "optim.warmup_steps": 500,
    # A minute or less, so that little is lost with a machine.
    "checkpoint.every": 1_000,
    "eval.every": 5_000,
    "log.every": 100,
}

SMALL = ("model.depth", "model.pairs", "model.experts")
"""What the small networks' runs say of those networks alone."""

CODING: armoe_w.Changes = {
    # Patches a second of one core: 6,200 with 16 coded side by side; 4,700 with 4, 1,900 singly.
    # Decoded ones (8,300 singly) need not share images.
    "data.patches_per_image": 16,
}


RUNS = {
    name: changes
    for name, changes in armoe_w.RUNS.items()
    if "model.specialists" not in changes  # this network has experts
}


def get_config(run: str = "jpeg") -> ConfigDict:
    """Returns the locked configuration of one of RUNS."""
    if run not in RUNS:
        raise ValueError(f"configs/car_base.py:{run}: choose one of {', '.join(RUNS)}")
    config = base.get_config()
    with config.unlocked():
        config.model = base.model_config("armoe_w_base")
    changes = RUNS[run] | ACCELERATOR
    for name in SMALL:
        changes.pop(name)
    if changes["data.source"] == "jpeg":
        changes |= CODING
    config.update_from_flattened_dict(changes)
    return config
