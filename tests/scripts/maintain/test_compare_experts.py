"""The comparison of experts: its arms, its table, and one real call of a few steps."""

import json

import numpy as np
import pytest
from PIL import Image

import configs


@pytest.fixture(scope="module")
def compare():
    import compare_experts

    return compare_experts


def test_arms_change_the_mixture_alone(compare):
    config = configs.load("configs/armoe_w.py:jpeg")
    changed = {name: compare.of_arm(name, config) for name in compare.arms(config)}
    assert list(changed) == [
        "plain", "none", "dct", "fft", "haar", "swt", "dense", "image", "window", "released",
    ]  # fmt: skip
    fields = {
        name: (arm.model.experts, arm.model.route, arm.model.dispatch)
        for name, arm in changed.items()
        if name != "released"
    }
    assert fields["none"] == ((), "window", "capacity")
    assert fields["haar"] == (("haar",), "window", "capacity")
    assert fields["dense"][1:] == ("window", "dense")
    assert fields["image"] == (("dct", "fft", "haar", "swt"), "image", "capacity")
    for arm in changed.values():
        assert arm.data == config.data
    assert changed["released"].model.mixture == "released"
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
    ]


@pytest.mark.slow
def test_a_few_steps(compare, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for i in range(2):
        pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    words = ["--seconds", "0", "--seeds", "1", "--gt", str(tmp_path), "--eval", str(tmp_path)]
    words += ["--arms", "dense", "window", "--codings", "10", "--crop", "32"]
    words += ["--json", str(tmp_path / "out.json"), "--set"]
    words += ["model.embed_dim=4", "model.depth=1", "model.pairs=1", "model.expert_dim=4"]
    words += ["train.batch_size=4", "data.patch_size=16", "data.num_workers=0"]
    assert compare.main(words) == 0
    first = capsys.readouterr()
    assert [line.split()[0] for line in first.out.splitlines()] == ["dense", "window"]
    record = json.loads((tmp_path / "out.json").read_text())
    assert all(np.isfinite(row["gains"]["10"]) for row in record["rows"])
    # A second call finds everything done; one of another protocol is refused.
    assert compare.main(words) == 0
    assert capsys.readouterr().out == first.out
    with pytest.raises(SystemExit, match="results of another protocol"):
        compare.main([*words, "train.loss=l1"])
