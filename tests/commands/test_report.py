"""`armoe-jax report`, of evaluations and with a look inside the network."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import networks
import pytest
from made_runs import make_run

from armoe_jax.benchmark.measure import random_variables
from armoe_jax.checkpoints.folder import save_model
from armoe_jax.cli import main
from armoe_jax.models import build_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return [make_run(root / f"q{quality}", quality) for quality in (10, 30)]


def test_report(folders, tmp_path, capsys):
    out = tmp_path / "report.html"
    words = ["report", *map(str, folders), "-o", str(out), "--label", "one", "two"]
    assert main([*words, "--title", "T & U", "--max-images", "1"]) == 0
    assert "2 evaluations of 6 images" in capsys.readouterr().out
    assert "<title>T &amp; U</title>" in out.read_text()
    assert "one · two" in out.read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--label", "a", "b", "c"], "--label has 3 values"),
        (["--max-images", "-1"], "negative"),
        (["--attribution", "1"], "needs --checkpoint"),
        (["--checkpoint", "nowhere"], "nowhere"),
    ],
)
def test_bad_usage(folders, tmp_path, capsys, flags, message):
    words = ["report", *map(str, folders), "-o", str(tmp_path / "r.html")]
    assert main([*words, *flags]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_looks_inside(folders, tmp_path):
    config = networks.RELEASED
    save_model(tmp_path / "model", config, random_variables(config), provenance={})
    record = json.loads((folders[0] / "evaluation.json").read_text())
    for image in record["images"]:
        del image["expert"]
    (tmp_path / "e.json").write_text(json.dumps(record))
    words = ["report", str(tmp_path / "e.json"), "-o", str(tmp_path / "r.html")]
    words += ["--lq", str(folders[0] / "lq"), "--checkpoint", str(tmp_path / "model")]
    assert main([*words, "--attribution", "1", "--attribution-crop", "16"]) == 0
    text = (tmp_path / "r.html").read_text()
    assert all(f'id="{part}"' in text for part in ("experts", "decay", "attribution"))


@pytest.mark.slow
def test_looks_inside_windows(folders, tmp_path):
    """Thresholds at both ends of the quality; what each expert is worth, with originals."""
    changes = {"adapt_experts": True, "quality_range": (0.0, 8.0)}
    config = dataclasses.replace(networks.WINDOWED, **changes)
    variables = jax.jit(build_model(config).init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    save_model(tmp_path / "model", config, variables, provenance={})
    words = ["report", str(folders[0]), "-o", str(tmp_path / "r.html")]
    assert main([*words, "--checkpoint", str(tmp_path / "model")]) == 0
    text = (tmp_path / "r.html").read_text()
    assert all(f'id="{part}"' in text for part in ("windows", "thresholds", "silenced"))
    assert all(f"{name}, strongest coding" in text for name in config.experts)
    silent = text[text.index('id="silenced"') :]
    silent = silent[: silent.index("</table>")]
    rows = [row.split("</td><td>")[1] for row in silent.split("<tr><td>")[1:]]
    assert rows == ["none", "all experts", "dct", "haar"]
