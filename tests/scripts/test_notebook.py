"""The notebook, from top to bottom in a fresh kernel."""

from pathlib import Path

import jax
import jax.numpy as jnp
import nbformat
import numpy as np
import pytest

from armoe_jax.checkpoints.folder import LoadedModel
from armoe_jax.checkpoints.weights import save_weights
from armoe_jax.images.io import read_image, write_image
from armoe_jax.models import ARMoEConfig, build_model

NOTEBOOK = Path(__file__).parents[2] / "scripts" / "colab_evaluation.ipynb"
CELL_SECONDS = 300


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_is_valid_and_stored_without_outputs(notebook):
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_every_parameter_has_a_default(notebook, monkeypatch):
    names = ("PACKAGE", "CHECKPOINT", "PAIRS_GT", "PAIRS_LQ", "IMAGE", "CODEC", "QUALITY")
    for name in names:
        monkeypatch.delenv(f"ARMOE_{name}", raising=False)
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    scope: dict = {}
    exec(compile(cell.source, str(NOTEBOOK), "exec"), scope)
    assert [scope[name] for name in names] == ["", "", "", "", "", "vvc", 32]


def _files(folder: Path) -> dict[str, str]:
    """A tiny released-form checkpoint, a pair of images, and a coded image with an odd width."""
    config = ARMoEConfig(
        embed_dim=32, depth=(1,), num_heads=(2,), mlp_ratio=2.0, split_size=(4, 8), upscale=1
    )
    variables = jax.jit(build_model(config).init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    save_weights(folder / "tiny.pth", LoadedModel(config, jax.tree.map(np.asarray, variables), {}))
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    write_image(folder / "gt" / "one.png", image)
    write_image(folder / "lq" / "one.png", image // 2 + 60)
    write_image(folder / "odd.jpg", image[:, :31])
    return {
        "ARMOE_CHECKPOINT": str(folder / "tiny.pth"),
        "ARMOE_PAIRS_GT": str(folder / "gt"),
        "ARMOE_PAIRS_LQ": str(folder / "lq"),
        "ARMOE_IMAGE": str(folder / "odd.jpg"),
        "ARMOE_CODEC": "jpeg",
        "ARMOE_QUALITY": "20",
        "ARMOE_CROP": "32",
        "ARMOE_WORK": str(folder / "work"),
        "ARMOE_JAX_CACHE": "off",
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_runs_from_top_to_bottom(notebook, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    for name, value in _files(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ARMOE_PACKAGE", raising=False)
    client = nbclient.NotebookClient(
        notebook.copy(),
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    outputs = {
        cell.id: [str(o.get("data", o.get("text", ""))) for o in cell.outputs]
        for cell in client.nb.cells
        if cell.cell_type == "code"
    }
    text = {name: "\n".join(parts) for name, parts in outputs.items()}
    assert "embed_dim=32" in text["checkpoint"]
    assert "chelsea" in text["embedded"]
    assert "srcdoc" in text["embedded"]
    assert "PSNR-Y" in text["pairs"]
    restored = tmp_path / "work" / "restored" / "odd.png"
    assert str(restored) in text["image"]
    assert read_image(restored).pixels.shape == (32, 31, 3)
    assert (tmp_path / "work" / "model" / "model.json").is_file()
