"""The comparison of experts: its arms, its table, and one real call of a few steps."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from PIL import Image

import configs
from armoe_jax.models import build_model
from armoe_jax.restore import Restorer
from armoe_jax.runtime.errors import UserError
from armoe_jax.training import warm_start


@pytest.fixture(scope="module")
def compare():
    import compare_experts

    return compare_experts


def test_arms_change_the_mixture_alone(compare):
    config = configs.load("configs/armoe_w.py:jpeg")
    changed = {name: compare.of_arm(name, config) for name in compare.arms(config)}
    assert list(changed) == [
        "plain", "none", "dct", "fft", "haar", "swt", "dense", "image", "window", "more",
        "released",
    ]  # fmt: skip
    fields = {
        name: (arm.model.experts, arm.model.route, arm.model.dispatch)
        for name, arm in changed.items()
        if name != "released"
    }
    assert fields["none"] == ((), "window", "capacity")
    assert fields["haar"] == (("haar",), "window", "capacity")
    assert fields["dense"][1:] == ("window", "dense")
    assert fields["more"] == fields["none"]
    assert changed["more"].model.depth == config.model.depth + 1
    assert compare.of_arm("haar+dct", config).model.experts == ("haar", "dct")
    assert fields["image"] == (("dct", "fft", "haar", "swt"), "image", "capacity")
    for arm in changed.values():
        assert arm.data == config.data
    released = changed["released"]
    assert released.model.mixture == "released"
    for name in ("seed", "batch_size", "accumulation_steps", "loss", "loss_colors", "ema_decay"):
        assert released.train[name] == config.train[name], name
    assert released.optim.warmup_steps == config.optim.warmup_steps
    assert config == configs.load("configs/armoe_w.py:jpeg")


def test_the_table_has_means_and_standard_errors(compare):
    rows = [
        {"arm": arm, "seed": seed, "parameters": 1000, "steps": steps, "gains": {"10": gain}}
        for arm, seed, steps, gain in [
            ("none", 0, 10, 0.1), ("dct", 0, 8, 0.3), ("none", 1, 12, 0.3), ("none", 2, 11, 0.2),
        ]
    ]  # fmt: skip
    # Deviation of 0.1, 0.2, 0.3: 0.1; over the root of 3: 0.058.
    assert compare.table(rows).splitlines() == [
        "none          1,000 parameters      11 steps  10: +0.200 ± 0.058",
        "dct           1,000 parameters       8 steps  10: +0.300",
        "dct       less none, 1 seeds  10: +0.200",
    ]
    rows[1]["silenced"] = {"10": 0.25}
    assert compare.table(rows).splitlines()[-1] == "dct       silenced, 1 seeds  10: +0.250"


def test_a_qp_is_told_by_the_folder(compare, tmp_path):
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
    np.testing.assert_array_equal(compare._sparsely(model, variables)(sample), told)


def test_what_is_added_to_trained_weights_is_silent_and_learns(compare):
    """The larger network puts out what the smaller one does, and gradients reach the addition."""
    small = dataclasses.replace(networks.WINDOWED, depth=1, experts=())
    large = dataclasses.replace(small, depth=2, experts=("dct",))
    x = jnp.asarray(np.random.default_rng(0).random((1, 8, 8, 3), np.float32))
    trained = jax.device_get(jax.jit(build_model(small).init)(jax.random.key(0), x))
    fresh = jax.device_get(jax.jit(build_model(large).init)(jax.random.key(1), x))
    merged, _ = warm_start.merge(fresh, trained)
    start = compare.silent_additions(merged, trained)
    want = jax.jit(build_model(small).apply)(trained, x)

    def total(variables):
        y = build_model(large).apply(variables, x)
        return y.sum(), y

    slopes, got = jax.jit(jax.grad(total, has_aux=True))(start)
    np.testing.assert_allclose(got, want, atol=1e-6)
    blocks = slopes["params"]["group_0"]
    assert np.abs(blocks["block_0"]["moe"]["dct"]["mix_out"]).max() > 0
    assert np.abs(blocks["block_1"]["pair_0"]["conv1"]["kernel"]).max() > 0


@pytest.mark.slow
def test_a_few_steps(compare, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for i in range(2):
        pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    words = ["--seconds", "0", "--seeds", "1", "--gt", str(tmp_path), "--eval", str(tmp_path)]
    words += ["--arms", "dense", "window", "--codings", "10", "--crop", "32"]
    words += ["--json", str(tmp_path / "out.json"), "--set"]
    words += ["model.embed_dim=4", "model.depth=2", "model.pairs=1", "model.expert_dim=4"]
    words += ["train.batch_size=4", "data.patch_size=16", "data.num_workers=0"]
    assert compare.main(words) == 0
    first = capsys.readouterr()
    assert [line.split()[0] for line in first.out.splitlines()] == ["dense", "window"] * 2
    record = json.loads((tmp_path / "out.json").read_text())
    assert all(np.isfinite(row["gains"]["10"]) for row in record["rows"])
    assert all(row["silenced"]["10"] != row["gains"]["10"] for row in record["rows"])
    # A second call finds everything done; one of another protocol is refused.
    assert compare.main(words) == 0
    assert capsys.readouterr().out == first.out
    with pytest.raises(UserError, match="results of another protocol"):
        compare.main([*words, "train.loss=l1"])
