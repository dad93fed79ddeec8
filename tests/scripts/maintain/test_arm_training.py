"""Arms of a comparison: how they start, and what their networks are told."""

import dataclasses

import arm_training
import compare_experts as compare
import jax
import jax.numpy as jnp
import networks
import numpy as np
from PIL import Image

from armoe_jax.models import build_model
from armoe_jax.restore import Restorer
from armoe_jax.training import warm_start


def test_a_qp_is_told_by_the_folder(tmp_path):
    folder = tmp_path / "vvc" / "qp27" / "lq"
    folder.mkdir(parents=True)
    for where in (tmp_path, folder):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(where / "a.png")
    config = dataclasses.replace(networks.JPEG, quality_range=(17.0, 42.0), interval_head=False)
    model = build_model(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), shapes)
    args = compare._parse(["--steps", "1", "--eval", str(tmp_path), "--crop", "8"])
    (sample,) = compare._samples(args, str(folder))
    assert sample.qp == 27.0
    assert sample.coding is None
    sample = sample._replace(lq=rng.integers(0, 256, (8, 8, 3), np.uint8))
    told, other = (Restorer(config, variables, coding_quality=qp)(sample.lq) for qp in (27, 42))
    assert not np.array_equal(told, other)
    np.testing.assert_array_equal(arm_training._sparsely(model, variables)(sample), told)


def test_what_is_added_to_trained_weights_is_silent_and_learns():
    """The larger network puts out what the smaller one does, and gradients reach the addition."""
    small = dataclasses.replace(networks.WINDOWED, depth=1, experts=())
    large = dataclasses.replace(small, depth=2, experts=("dct",))
    x = jnp.asarray(np.random.default_rng(0).random((1, 8, 8, 3), np.float32))
    trained = jax.device_get(jax.jit(build_model(small).init)(jax.random.key(0), x))
    fresh = jax.device_get(jax.jit(build_model(large).init)(jax.random.key(1), x))
    merged, _ = warm_start.merge(fresh, trained)
    start = arm_training.silent_additions(merged, trained)
    want = jax.jit(build_model(small).apply)(trained, x)

    def total(variables):
        y = build_model(large).apply(variables, x)
        return y.sum(), y

    slopes, got = jax.jit(jax.grad(total, has_aux=True))(start)
    np.testing.assert_allclose(got, want, atol=1e-6)
    blocks = slopes["params"]["group_0"]
    assert np.abs(blocks["block_0"]["moe"]["dct"]["mix_out"]).max() > 0
    assert np.abs(blocks["block_1"]["pair_0"]["conv1"]["kernel"]).max() > 0
