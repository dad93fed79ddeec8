"""A network of one block, its variables, and single training steps of it."""

import networks

import configs
from armoe_jax.benchmark.measure import random_variables
from armoe_jax.models import build_model
from armoe_jax.training import losses, optim, sharding
from armoe_jax.training import state as train_state
from armoe_jax.training.objectives import StepOptions
from armoe_jax.training.step import lower_train_step, make_train_step, metrics_shapes

SMALL = networks.RELEASED
EXPERTS = SMALL.experts


def make_model(**changes):
    return build_model(SMALL.to_dict() | changes)


def make_variables(model):
    return random_variables(model.config)


def make_options(learning_rate=1e-3, **changes):
    config = configs.load("configs/base.py").optim.to_dict() | {"learning_rate": learning_rate}
    values = {
        "loss": losses.make_loss("l1"),
        "optimizer": optim.make_optimizer(config),
        "schedule": optim.make_schedule(config, 100),
        "seed": 3,
    }
    return StepOptions(**(values | changes))


def make_state(variables, options, mesh, *, ema=True, experts=EXPERTS):
    metrics = metrics_shapes(1, len(experts))
    state = train_state.create(variables, options.optimizer, ema=ema, metrics=metrics)
    return sharding.place(state, train_state.shardings(state, mesh, fsdp=False))


def compile_step(model, options, mesh, state, batch, **kwargs):
    step_fn = make_train_step(model, options)
    return lower_train_step(step_fn, mesh, state, batch, **kwargs).compile()
