"""The notebook, from top to bottom in a fresh kernel."""

import fnmatch
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import nbformat
import numpy as np
import pytest

from armoe_jax.checkpoints.folder import LoadedModel
from armoe_jax.checkpoints.shipped import CODEC_MODEL, JPEG_MODEL
from armoe_jax.checkpoints.weights import save_weights
from armoe_jax.images.io import read_image, write_image
from armoe_jax.models import ARMoEConfig, build_model

NOTEBOOK = Path(__file__).parents[2] / "scripts" / "colab_evaluation.ipynb"
CELL_SECONDS = 1800


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
    empty = ("PACKAGE", "CHECKPOINT", "DRIVE", "DRIVE_FILE", "PAIRS_GT", "PAIRS_LQ", "IMAGE")
    names = (*empty, "CODEC", "QUALITY")
    for name in names:
        monkeypatch.delenv(f"ARMOE_{name}", raising=False)
    scope = execute(notebook, "parameters", {})
    assert [scope[name] for name in names] == [*("" for _ in empty), "vvc", 32]


def execute(notebook, name, scope):
    """Runs the cell of that name alone; returns the names that it leaves."""
    (cell,) = (cell for cell in notebook.cells if cell.id == name)
    exec(compile(cell.source, str(NOTEBOOK), "exec"), scope)
    return scope


@pytest.mark.parametrize(
    ("devices", "packages", "package", "requirement"),
    [
        (
            ["nvidia0"],
            ["jax-cuda12-plugin"],
            "git+https://x/y",
            "armoe-jax[cuda12] @ git+https://x/y",
        ),
        (["nvidia0"], ["jax-cuda13-plugin"], "/a/folder", "/a/folder[cuda13]"),
        (["nvidia0", "nvidia1"], [], "/a/folder", "/a/folder[cuda12]"),
        # Colab's machines without a GPU have the plugin nevertheless.
        (["nvidiactl"], ["jax-cuda12-plugin"], "git+https://x/y", "armoe-jax @ git+https://x/y"),
        ([], ["libtpu"], "/a/folder", "/a/folder[tpu]"),
    ],
)
def test_installs_jax_for_the_accelerator(
    notebook, monkeypatch, devices, packages, package, requirement
):
    def version(name):
        if name not in packages:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    commands = []
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(Path, "glob", lambda path, pattern: fnmatch.filter(devices, pattern))
    monkeypatch.setattr(subprocess, "run", lambda words, check: commands.append(words))
    execute(notebook, "install", {"PACKAGE": package})
    (words,) = commands
    assert words[1:4] == ["-m", "pip", "install"]
    assert words[-1] == requirement


@pytest.mark.parametrize(("extra", "platforms", "stops"), [
    ("cuda12", "", True), ("cuda12", "cpu", False), ("", "", False),
])  # fmt: skip
def test_says_that_the_accelerator_is_not_used(
    notebook, monkeypatch, capsys, extra, platforms, stops
):
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    scope = {"accelerator": lambda: extra, "os": os}
    if stops:
        with pytest.raises(RuntimeError, match=r"Restart the session.*jax\[cuda12\]"):
            execute(notebook, "devices", scope)
    else:
        execute(notebook, "devices", scope)
    assert str(jax.devices()) in capsys.readouterr().out


class Drive:
    """Stands for gdown: a folder of two checkpoints, each of which is a file, too."""

    files = ("ARMoE_QP22.pth", "ARMoE_QP27.pth")

    def download_folder(self, id, output):
        assert id == "15CG48tVXHPcHiUwMXa6YLu8E1oieppnO"
        for name in (*self.files, "readme.txt"):
            (Path(output) / name).touch()

    def download(self, id, output):
        assert id == "1-AuGdGyV_O3TOvzNbUDlTsd9Nr678KsO"
        (Path(output) / self.files[0]).touch()


FOLDER = "https://drive.google.com/drive/folders/15CG48tVXHPcHiUwMXa6YLu8E1oieppnO?usp=sharing"
FILE = "https://drive.google.com/file/d/1-AuGdGyV_O3TOvzNbUDlTsd9Nr678KsO/view"


def fetch(notebook, monkeypatch, folder, **parameters):
    """Returns the checkpoint that the cell leaves."""
    monkeypatch.setitem(sys.modules, "gdown", Drive())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    scope = {"CHECKPOINT": "", "DRIVE": "", "DRIVE_FILE": "", "WORK": str(folder)} | parameters
    scope |= {"Path": Path, "importlib": importlib}
    return execute(notebook, "released", scope)["CHECKPOINT"]


def test_fetches_a_released_checkpoint(notebook, monkeypatch, tmp_path):
    released = tmp_path / "released"
    chosen = fetch(notebook, monkeypatch, tmp_path, DRIVE=FOLDER, DRIVE_FILE="QP27")
    assert chosen == str(released / "ARMoE_QP27.pth")
    with pytest.raises(ValueError, match=r"ARMoE_QP22.pth, ARMoE_QP27.pth; set DRIVE_FILE"):
        fetch(notebook, monkeypatch, tmp_path, DRIVE=FOLDER)
    with pytest.raises(ValueError, match="DRIVE is 'QP27'"):
        fetch(notebook, monkeypatch, tmp_path, DRIVE="QP27")
    chosen = fetch(notebook, monkeypatch, tmp_path / "other", DRIVE=FILE)
    assert chosen == str(tmp_path / "other" / "released" / "ARMoE_QP22.pth")
    assert fetch(notebook, monkeypatch, tmp_path, CHECKPOINT="mine.pth", DRIVE=FILE) == "mine.pth"


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


def run(notebook, folder, monkeypatch, parameters):
    """Runs all cells; returns what each printed or showed."""
    nbclient = pytest.importorskip("nbclient")
    for name in ("PACKAGE", "CHECKPOINT", "DRIVE", "PAIRS_GT", "IMAGE", "CODEC", "QUALITY", "CROP"):
        monkeypatch.delenv(f"ARMOE_{name}", raising=False)
    for name, value in parameters.items():
        monkeypatch.setenv(name, value)
    client = nbclient.NotebookClient(
        notebook.copy(),
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return {
        cell.id: "\n".join(str(o.get("data", o.get("text", ""))) for o in cell.outputs)
        for cell in client.nb.cells
        if cell.cell_type == "code"
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_runs_from_top_to_bottom(notebook, tmp_path, monkeypatch):
    text = run(notebook, tmp_path, monkeypatch, _files(tmp_path))
    assert "embed_dim=32" in text["checkpoint"]
    assert "chelsea" in text["embedded"]
    assert "srcdoc" in text["embedded"]
    assert "PSNR-Y" in text["pairs"]
    restored = tmp_path / "work" / "restored" / "odd.png"
    assert str(restored) in text["image"]
    assert read_image(restored).pixels.shape == (32, 31, 3)
    assert (tmp_path / "work" / "model" / "model.json").is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_improves_images_by_default_and_takes_the_weights_of_their_codec(
    notebook, tmp_path, monkeypatch
):
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    write_image(tmp_path / "small.jpg", image)
    parameters = {
        "ARMOE_IMAGE": str(tmp_path / "small.jpg"),
        "ARMOE_WORK": str(tmp_path / "work"),
        "ARMOE_JAX_CACHE": "off",
    }
    text = run(notebook, tmp_path, monkeypatch, parameters)
    assert f"weights: {CODEC_MODEL}" in text["checkpoint"]
    assert f"weights: {JPEG_MODEL}" in text["image"]
    record = json.loads((tmp_path / "work" / "embedded-vvc-32" / "evaluation.json").read_text())
    assert record["num_images"] == 2
    assert all(row["gain_psnr_y"] > 0 for row in record["images"])
