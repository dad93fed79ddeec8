"""Reading configurations: files, arguments, overrides, and what is refused."""

import pytest

import configs

FILE = """
from configs import base

def get_config(seed="1"):
    return base.changed({"train.seed": int(seed)})
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "demo.py"  # the name of an installed one
    path.write_text(FILE)
    return path


def test_the_argument_reaches_get_config(file):
    assert configs.load(file).train.seed == 1
    assert configs.load(f"{file}:7").train.seed == 7


def test_an_existing_file_goes_before_an_installed_one(file, monkeypatch):
    assert configs.load(file).data.patch_size == 64
    assert configs.load("elsewhere/demo.py").data.patch_size == 48
    monkeypatch.chdir(file.parent)
    assert configs.load("elsewhere/car_finetune.py:22").data.qp == 22


def test_overrides_as_values_and_as_texts(file):
    values = {
        "train.seed": 3,
        "model.depth": (1, 2),
        "optim.learning_rate": 0.5,
        "train.ema": False,
    }
    config = configs.load(f"{file}:7", values)
    texts = ["train.seed=3", "model.depth=(1, 2)", "optim.learning_rate=0.5", "train.ema=False"]
    assert configs.load(file, texts) == config
    assert (config.train.seed, config.model.depth, config.train.ema) == (3, (1, 2), False)
    assert config.is_locked


def test_a_loaded_configuration_is_nobody_elses(file):
    configs.load(file).train.seed = 5
    assert configs.load(file).train.seed == 1


@pytest.mark.parametrize(
    "overrides",
    [
        {"train.num_stepz": 3},
        {"train.num_steps": "many"},
        ["train.num_stepz=3"],
        ["train.num_steps=many"],
    ],
)
def test_wrong_fields_and_types_are_refused_by_name(file, overrides):
    with pytest.raises(ValueError, match="num_step"):
        configs.load(file, overrides)


def test_a_text_without_value_is_refused(file):
    with pytest.raises(ValueError, match=r"'train.seed' is not FIELD=VALUE"):
        configs.load(file, ["train.seed"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", r"defines no get_config\(\)"),
        ("x = ", "SyntaxError"),
        ("def get_config():\n    return 1 / 0", "get_config: ZeroDivisionError"),
        ("def get_config():\n    return {}", "returns a dict"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, text, message):
    path = tmp_path / "wrong.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        configs.load(path)


def test_files_that_are_nowhere():
    with pytest.raises(FileNotFoundError, match=r"nope\.py: no such file; .*configs/base\.py"):
        configs.load("configs/nope.py:22")
