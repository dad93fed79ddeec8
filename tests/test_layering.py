"""Data flows one way, and workers that read never start an accelerator."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("armoe_jax", "configs", "input_pipeline", "scripts")

# What worker processes load: no module in these starts an accelerator.
NUMPY_ONLY = (
    "armoe_jax.images",
    "armoe_jax.metrics",
    "armoe_jax.ops.resize",
    "armoe_jax.runtime.files",
    "armoe_jax.runtime.json_files",
    "armoe_jax.runtime.progress",
    "input_pipeline",
)


def all_modules() -> dict[str, Path]:
    """Returns every module of the project by its dotted name."""
    modules = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


MODULES = all_modules()


def parse(source: str) -> ast.Module:
    """Parses a module without what only type checkers see."""

    class DropTypeChecking(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST:
            hidden = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            return ast.Pass() if hidden else self.generic_visit(node)

    return DropTypeChecking().visit(ast.parse(source))


def imports(tree: ast.Module) -> set[str]:
    """Returns dotted names that a module imports; `from a import b` gives a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def is_within(name: str, row: str) -> bool:
    return name == row or name.startswith(f"{row}.")


def test_only_models_and_experts_use_linen():
    users = {
        module
        for module, path in MODULES.items()
        if any(is_within(name, "flax.linen") for name in imports(parse(path.read_text())))
    }
    assert {user.split(".")[1] for user in users} == {"models", "experts"}


@pytest.mark.parametrize("row", NUMPY_ONLY)
def test_rows_without_an_accelerator(row):
    users = [
        module
        for module, path in MODULES.items()
        if is_within(module, row)
        for name in imports(parse(path.read_text()))
        if name.partition(".")[0] in {"jax", "flax", "optax", "orbax", "clu"}
    ]
    assert users == []


def test_no_tensorflow_or_torch_anywhere():
    users = {
        module
        for module, path in MODULES.items()
        for name in imports(parse(path.read_text()))
        if name.partition(".")[0] in {"tensorflow", "torch", "torchvision"}
    }
    assert users == set()


def test_the_pipeline_works_where_jax_cannot_be_imported():
    """Grain loads JAX by itself where it is installed; the pipeline must not ask for it."""
    names = ["armoe_jax.metrics", "armoe_jax.ops.resize"]
    names += [module for module in MODULES if is_within(module, "input_pipeline")]
    program = (
        "import importlib, sys\n"
        "sys.modules.update(jax=None, flax=None)\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_evaluating_a_metric_does_not_load_jax():
    program = (
        "import sys, numpy as np\n"
        "from armoe_jax.metrics import psnr\n"
        "from armoe_jax.ops.resize import imresize\n"
        "image = np.zeros((8, 8, 3), np.uint8)\n"
        "psnr(image, image + 1)\n"
        "imresize(image.astype(np.float32), 2)\n"
        "sys.exit('jax' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
