"""A training state of few arrays, one of them without elements, for tests that need no network."""

import jax
import jax.numpy as jnp
import numpy as np

import configs
from armoe_jax.models import VARIANTS
from armoe_jax.training import optim, sharding
from armoe_jax.training import state as train_state
from armoe_jax.training.checkpointer import Checkpointer, SavePlan
from armoe_jax.training.step import metrics_shapes

MODEL = VARIANTS["light_sr_x2"].to_dict()


def make_state(step=0, *, seed=0, ema=True, fsdp=False, num_devices=0):
    rng = np.random.default_rng(seed)
    variables = {
        "params": {
            "a": {"kernel": jnp.asarray(rng.normal(size=(16, 24)), jnp.float32)},
            "b": jnp.asarray(rng.normal(size=5), jnp.float32),
            # As the position biases of networks with fewer than 32 channels; Orbax refuses them.
            "empty": jnp.zeros((0, 24), jnp.float32),
            "group_0": {"blocks": {"w": jnp.asarray(rng.normal(size=(2, 3, 16)), jnp.float32)}},
        },
        "batch_stats": {"mean": jnp.asarray(rng.normal(size=8), jnp.float32)},
    }
    optimizer = optim.make_optimizer(configs.load("configs/base.py").optim.to_dict())
    state = train_state.create(variables, optimizer, ema=ema, metrics=metrics_shapes(2, 4))
    state = state.replace(step=jnp.int32(step))
    mesh = sharding.make_mesh(num_devices)
    return sharding.place(state, train_state.shardings(state, mesh, fsdp=fsdp))


def shapes_of(state):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


def make_meta(**changes):
    return {"model": MODEL, "ema": True, "validated": True} | changes


def save_steps(workdir, *steps, plan=None, ema=True, psnr=None):
    """Saves the states of some steps, each drawn by its number; returns the steps that are kept."""
    with Checkpointer(workdir, plan or SavePlan(every=1, num_steps=100)) as checkpointer:
        for step in steps:
            checkpointer.save(make_state(step, seed=step, ema=ema), make_meta(ema=ema))
            if psnr and step in psnr:
                checkpointer.add_metrics(step, {"psnr_y": psnr[step]})
            checkpointer.wait()
        return checkpointer.steps()
