"""Who may import whom: data flows one way, and workers that read never start an accelerator.

The rows below are the layers, lowest first. A module belongs to the row with the longest name that
it starts with, and may import from the rows listed there. Imports inside functions count as well;
those for type checkers alone do not.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("armoe_jax", "configs", "input_pipeline", "scripts")

NUMPY_ONLY = ("armoe_jax.metrics", "armoe_jax.ops.resize")

# Pixels and processes: know neither the network nor JAX.
TOOLS = (
    "armoe_jax.atomic_file",
    "armoe_jax.deep_tiff",
    "armoe_jax.evaluation_tables",
    "armoe_jax.freed_memory",
    "armoe_jax.huge_pages",
    "armoe_jax.image_files",
    "armoe_jax.image_io",
    "armoe_jax.model_card",
    "armoe_jax.model_choice",
    "armoe_jax.png16",
    "armoe_jax.progress",
    "armoe_jax.published",
    "armoe_jax.yuv",
    "armoe_jax.yuv_color",
)
NETWORK = ("armoe_jax.models", "armoe_jax.experts", "armoe_jax.ops", "armoe_jax.typing")
# What surrounds a network: weights in and out, state, figures. Never the training program.
SUPPORT = (
    "armoe_jax.analysis",
    "armoe_jax.checkpoint",
    "armoe_jax.checkpoint_arrays",
    "armoe_jax.compilation_cache",
    "armoe_jax.convert",
    "armoe_jax.distributed",
    "armoe_jax.flops",
    "armoe_jax.losses",
    "armoe_jax.metric_writer",
    "armoe_jax.model_folder",
    "armoe_jax.optim",
    "armoe_jax.preemption",
    "armoe_jax.profiling",
    "armoe_jax.run_info",
    "armoe_jax.sharding",
    "armoe_jax.train_metrics",
    "armoe_jax.train_state",
    "armoe_jax.train_step",
    "armoe_jax.warm_start",
)
RESTORE = (
    "armoe_jax.evaluate",
    "armoe_jax.export",
    "armoe_jax.exported",
    "armoe_jax.pretrained",
    "armoe_jax.recording",
    "armoe_jax.restore",
    "armoe_jax.restorer_options",
)
JUDGE = (
    "armoe_jax.benchmark",
    "armoe_jax.benchmark_machine",
    "armoe_jax.benchmark_report",
    "armoe_jax.fresh_process",
    "armoe_jax.report",
    "armoe_jax.video",
)
TRAIN = (
    "armoe_jax.demo",
    "armoe_jax.final_report",
    "armoe_jax.replay",
    "armoe_jax.train",
    "armoe_jax.train_loop",
    "armoe_jax.training_record",
    "armoe_jax.validation",
)
PROGRAMS = ("armoe_jax.main", "armoe_jax.cli", "armoe_jax.commands", "scripts")

BELOW_SUPPORT = (*TOOLS, *NUMPY_ONLY, *NETWORK)
BELOW_RESTORE = (*BELOW_SUPPORT, *SUPPORT)
BELOW_JUDGE = (*BELOW_RESTORE, *RESTORE)
EVERYTHING = PACKAGES

# Row -> rows that it may import from; always also from itself.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "armoe_jax": ("armoe_jax.metrics", "armoe_jax.models", *RESTORE),  # the lazy public door
    "armoe_jax.typing": (),
    "armoe_jax.metrics": ("armoe_jax.ops", "armoe_jax.typing"),
    "armoe_jax.ops": ("armoe_jax.metrics", "armoe_jax.typing"),
    "armoe_jax.experts": ("armoe_jax.ops", "armoe_jax.typing"),
    "armoe_jax.models": NETWORK,
    **dict.fromkeys(TOOLS, (*TOOLS, *NUMPY_ONLY)),
    **dict.fromkeys(SUPPORT, BELOW_RESTORE),
    **dict.fromkeys(RESTORE, BELOW_JUDGE),
    **dict.fromkeys(JUDGE, (*BELOW_JUDGE, *JUDGE)),
    **dict.fromkeys(TRAIN, (*BELOW_JUDGE, *TRAIN, "input_pipeline")),
    **dict.fromkeys(PROGRAMS, EVERYTHING),
    "input_pipeline": NUMPY_ONLY,
    "configs": ("armoe_jax.models", "input_pipeline"),
}


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


def row_of(name: str) -> str:
    """Returns the row that a module (or a name inside one) belongs to."""
    rows = [row for row in MAY_IMPORT if name == row or name.startswith(f"{row}.")]
    return max(rows, key=len)


def is_within(name: str, row: str) -> bool:
    return name == row or name.startswith(f"{row}.")


def forbidden(module: str, tree: ast.Module) -> list[str]:
    """Returns imports from the project that the module's row does not allow."""
    row = row_of(module)
    allowed = (row, *MAY_IMPORT[row])
    ours = [name for name in imports(tree) if name.partition(".")[0] in PACKAGES]
    return sorted(n for n in ours if not any(is_within(n, other) for other in allowed))


def test_every_module_has_a_row():
    unplaced = [m for m in MODULES if row_of(m) == "armoe_jax" and m != "armoe_jax"]
    assert unplaced == []


def test_rows_are_modules():
    assert [row for row in MAY_IMPORT if row not in MODULES and row != "scripts"] == []


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_from_its_row_and_below(module):
    assert forbidden(module, parse(MODULES[module].read_text())) == []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("armoe_jax.ops.windows", "from armoe_jax import models", ["armoe_jax.models"]),
        ("armoe_jax.checkpoint", "import armoe_jax.train", ["armoe_jax.train"]),
        ("armoe_jax.checkpoint", "from armoe_jax.train_state import TrainState", []),
        (
            "input_pipeline.sources",
            "def f():\n    from armoe_jax.ops import windows",
            ["armoe_jax.ops.windows"],
        ),
        ("input_pipeline.sources", "from armoe_jax.ops.resize import imresize", []),
        ("configs.base", "if TYPE_CHECKING:\n    from armoe_jax.train import run", []),
    ],
)
def test_the_check_itself_sees_what_it_should(module, source, found):
    assert forbidden(module, parse(source)) == found


def test_only_models_and_experts_use_linen():
    users = {
        module
        for module, path in MODULES.items()
        if any(is_within(name, "flax.linen") for name in imports(parse(path.read_text())))
    }
    assert {row_of(user) for user in users} == {"armoe_jax.models", "armoe_jax.experts"}


# What may not be imported anywhere in these rows, at any depth.
@pytest.mark.parametrize("row", ["armoe_jax.metrics", "input_pipeline", *TOOLS])
def test_rows_without_an_accelerator(row):
    users = [
        module
        for module, path in MODULES.items()
        if row_of(module) == row
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
