"""The tests of `a/b.py` are in `tests/a/test_b.py`: the rule, and what stands outside it, why."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent

MODULES_WITHOUT = {
    "armoe_jax/__main__.py": "three lines; test_cli.py starts it as a process",
    "armoe_jax/main.py": "training/test_main.py: it shares the runs of the tests of training",
    "armoe_jax/training/distributed.py": "needs several processes: training/test_equality.py",
    "armoe_jax/typing.py": "names for type checkers",
    "scripts/maintain/kill_test.py": "a test itself, of hours; test_cli.py reads its help",
    "scripts/maintain/replay.py": "runs in scripts/maintain/test_ship_weights.py, by `repeat`",
    **dict.fromkeys(
        [
            f"scripts/{name}.py"
            for name in ("benchmark", "build_dataset", "convert_checkpoint", "evaluate")
        ],
        "a door to a command; test_cli.py opens all of them",
    ),
    **dict.fromkeys(
        [
            f"configs/{name}.py"
            for name in (
                *("armoe_w", "base", "car_base", "car_finetune", "car_small", "demo"),
                *("car_qp22", "car_qp27", "car_qp32", "car_qp37", "light_sr_x2"),
            )
        ],
        "values; configs/test_configs.py holds all configurations to the same promises",
    ),
}

TESTS_OF_MORE = {
    "commands/test_jpeg_files.py": "restore and evaluate, told how files were coded",
    "configs/test_configs.py": "all configurations",
    "images/test_fuzz.py": "damaged images, by every reader",
    "models/test_released_networks.py": "whole networks against the released ones",
    "models/test_released_training.py": "a training step against the released one",
    "restore/test_belief.py": "shipped weights, told what files and pixels say",
    "restore/test_gpu.py": "needs a GPU",
    "scripts/maintain/test_gpu_kit.py": "shell scripts and their list of packages",
    "scripts/test_notebook.py": "a notebook",
    "test_docs.py": "documents",
    "test_fuzz.py": "damaged weights, exports, manifests and records",
    "test_layering.py": "what imports what",
    "test_mirror.py": "names of files",
    "test_public.py": "the package's door",
    "training/test_equality.py": "the same run on one device, on several, in several processes",
    "training/test_golden_step.py": "a whole step against PyTorch's",
    "training/test_gpu.py": "needs a GPU",
    "training/test_main.py": "see armoe_jax/main.py",
    "training/test_windowed_training.py": "steps of networks whose windows choose",
    "video/test_fuzz.py": "damaged videos, by every reader",
    "video/test_motion_jpeg.py": "a codec, from reading to restoring",
}


def modules() -> dict[str, Path]:
    """Returns every module but the doors, with the place of its tests."""
    found = {}
    for top in ("armoe_jax", "configs", "input_pipeline", "scripts"):
        for path in (ROOT / top).rglob("*.py"):
            inside = path.relative_to(ROOT / "armoe_jax" if top == "armoe_jax" else ROOT)
            if path.name != "__init__.py":
                partner = TESTS / inside.with_name(f"test_{path.name}")
                found[path.relative_to(ROOT).as_posix()] = partner
    return found


def test_every_module_has_tests_of_its_name():
    without = {name for name, partner in modules().items() if not partner.is_file()}
    assert sorted(without - set(MODULES_WITHOUT)) == []
    # Nor is there more in the list than there is without tests.
    assert sorted(set(MODULES_WITHOUT) - without) == []


def test_every_file_of_tests_has_a_module_of_its_name():
    partners = set(modules().values())
    others = {
        path.relative_to(TESTS).as_posix()
        for path in TESTS.rglob("test_*.py")
        if path not in partners
    }
    assert sorted(others - set(TESTS_OF_MORE)) == []
    assert sorted(set(TESTS_OF_MORE) - others) == []
