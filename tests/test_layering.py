"""What `lint-imports` cannot say: Linen's users, door files, and what really is loaded."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("armoe_jax", "configs", "input_pipeline")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
DOORS = sorted(name for name, path in MODULES.items() if path.name == "__init__.py")


def imports(tree: ast.Module) -> set[str]:
    """Returns dotted names that a module imports; `from a import b` gives a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_only_models_and_experts_use_linen():
    users = {
        module.split(".")[1]
        for module, path in MODULES.items()
        for name in imports(ast.parse(path.read_text()))
        if f"{name}.".startswith("flax.linen.")
    }
    assert users == {"models", "experts"}


def is_door(node: ast.stmt) -> bool:
    """Whether a statement may stand in an `__init__`: a docstring, an import, a list of names."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.If):  # for type checkers alone
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if isinstance(node, ast.FunctionDef):
        return node.name in {"__getattr__", "__dir__"}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        return names <= {"__all__", "__version__", "_HOME"}
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize("door", DOORS)
def test_init_files_hold_a_docstring_and_a_door(door):
    tree = ast.parse(MODULES[door].read_text())
    assert ast.get_docstring(tree)
    assert [ast.unparse(node) for node in tree.body if not is_door(node)] == []


def run(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_pipeline_works_where_jax_cannot_be_imported():
    """Grain loads JAX by itself where it is installed; the pipeline must not ask for it."""
    names = ["armoe_jax.images.io", "armoe_jax.metrics", "armoe_jax.ops.resize"]
    names += [
        "armoe_jax.runtime.files",
        "armoe_jax.runtime.json_files",
        "armoe_jax.runtime.progress",
    ]
    names += [module for module in MODULES if f"{module}.".startswith("input_pipeline.")]
    run(
        "import importlib, sys\n"
        "sys.modules.update(jax=None, flax=None)\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
    )


def test_evaluating_a_metric_does_not_load_jax():
    run(
        "import sys, numpy as np\n"
        "from armoe_jax.metrics import psnr\n"
        "from armoe_jax.ops.resize import imresize\n"
        "image = np.zeros((8, 8, 3), np.uint8)\n"
        "psnr(image, image + 1)\n"
        "imresize(image.astype(np.float32), 2)\n"
        "sys.exit('jax' in sys.modules)\n"
    )


def test_running_an_export_loads_neither_flax_nor_the_models():
    run(
        "import sys\n"
        "from armoe_jax.exported import load_export\n"
        "sys.exit(bool({'flax', 'armoe_jax.models'} & {*sys.modules}))\n"
    )
