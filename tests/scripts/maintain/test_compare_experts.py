"""The comparison of experts: one real call of a few steps."""

import json

import compare_experts as compare
import numpy as np
import pytest
from PIL import Image

from armoe_jax.runtime.errors import UserError


@pytest.mark.slow
def test_a_few_steps(tmp_path, capsys):
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
