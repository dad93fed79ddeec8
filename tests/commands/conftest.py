"""Small networks and an installation with weights, for tests of commands."""

import dataclasses

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from armoe_jax import load_pretrained
from armoe_jax.checkpoints.folder import LoadedModel
from armoe_jax.checkpoints.shipped import shipped_names
from armoe_jax.checkpoints.weights import load_weights, save_weights
from armoe_jax.models import build_model

CONFIG = dataclasses.replace(networks.RELEASED, global_skip=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small network that changes every pixel a little."""
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    shapes = jax.eval_shape(build_model(CONFIG).init, jax.random.key(0), x)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: rng.uniform(0.01, 0.05, s.shape).astype("float32"), shapes)
    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    save_weights(path, LoadedModel(CONFIG, variables, {}))
    return str(path)


@pytest.fixture(scope="module")
def restorer(checkpoint):
    return load_pretrained(checkpoint)


@pytest.fixture
def shipped(tmp_path, monkeypatch, checkpoint):
    """An installation with weights for both purposes; which of them ran shows in the pixels."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr("armoe_jax.checkpoints.shipped.WEIGHTS_FOLDER", folder)
    model = load_weights(checkpoint)
    for name, change in (("car_small_vvc", 0.04), ("car_small_jpeg", -0.04)):  # 10 gray levels
        last = {"kernel": np.zeros((3, 3, 64, 3), "f4"), "bias": np.full(3, change, "f4")}
        params = model.variables["params"] | {"conv_last": last}
        variables = model.variables | {"params": params}
        save_weights(
            folder / f"{name}.safetensors", dataclasses.replace(model, variables=variables)
        )
    return {name: load_pretrained(name) for name in shipped_names()}
