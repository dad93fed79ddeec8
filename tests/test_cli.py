"""The console command: every sub-command introduces itself, and bad usage is one line."""

import importlib
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from armoe_jax import cli

ROOT = Path(__file__).parent.parent
SCRIPTS = {
    "build_dataset.py": "build-dataset",
    "convert_checkpoint.py": "convert",
    "evaluate.py": "evaluate",
    "benchmark.py": "benchmark",
}


# What is not a command of armoe-jax, but for those who work on the project.
TOOLS = ("compare_experts.py", "kill_test.py", "measure_weights.py", "ship_weights.py")


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def test_the_table_names_every_command_module():
    folder = Path(importlib.import_module("armoe_jax.commands").__path__[0])
    modules = {
        f"armoe_jax.commands.{p.stem}" for p in folder.glob("*.py") if "HELP = " in p.read_text()
    }
    assert modules == set(cli.COMMANDS.values())


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_of_every_command(command, capsys):
    assert cli.main([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: armoe-jax {command} ")
    assert err == ""


def test_help_names_every_command(capsys):
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"    {command}" in out for command in cli.COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "required: COMMAND"),
        (["restroe"], "restroe"),
        (["restore", "--no-such-option"], "required: INPUT, -o/--output"),
        (["evaluate", "--gt", "a", "--lq", "b", "--tile", "big"], "'big' is not auto, none"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(arguments, complaint, capsys):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert complaint in err
    assert "--help)" in err


def test_what_a_user_did_wrong_is_one_line(capsys, tmp_path):
    assert cli.main(["convert", "absent.pth", str(tmp_path / "b.pth")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("armoe-jax convert: no checkpoint 'absent.pth'")
    assert err.count("\n") == 1


def test_errors_of_the_program_are_not_called_bad_usage(capsys, monkeypatch):
    def fail(_):
        return int("x")

    monkeypatch.setattr(importlib.import_module(cli.COMMANDS["convert"]), "run", fail)
    assert cli.main(["convert", "a.pth", "b.pth"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2].startswith("armoe-jax convert: invalid literal for int()")
    assert lines[-1].startswith("This is an error of the program, not of its input. Please report")


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_names_that_stdout_has_no_code_for(encoding, tmp_path):
    name = os.fsdecode(b"caf\xe9-\xc3\xa9")
    model = tmp_path / f"{name}.safetensors"
    model.write_bytes((ROOT / "armoe_jax/weights/car_small_vvc.safetensors").read_bytes())
    done = run("-m", "armoe_jax.cli", "convert", model, tmp_path / name, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"caf\udce9-" in done.stdout
    assert (tmp_path / name / "model.json").is_file()


def test_interruption_is_no_traceback(capsys, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module(cli.COMMANDS["convert"]), "run", interrupt)
    assert cli.main(["convert", "a.pth", "b.pth"]) == 130
    assert capsys.readouterr().err == "armoe-jax convert: interrupted\n"


@pytest.mark.parametrize("module", ["armoe_jax", "armoe_jax.cli"])
def test_the_process_exits_with_the_status(module):
    done = run("-m", module, "convert", "absent.pth", "out.safetensors")
    assert done.returncode == 2
    assert done.stderr.startswith("armoe-jax convert: ")
    assert "absent.pth" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_does_not_load_jax():
    program = (
        "import sys; from armoe_jax.cli import main\n"
        "main(['--help'])\n"
        "sys.exit('jax' in sys.modules)"
    )
    assert run("-c", program).returncode == 0


def test_scripts_are_listed_here():
    scripts = {path.name for path in (ROOT / "scripts").glob("*.py")}
    assert scripts == {*SCRIPTS}


@pytest.mark.parametrize("script", TOOLS)
def test_tools_explain_themselves(script, capsys, monkeypatch):
    path = ROOT / "scripts" / "maintain" / script
    monkeypatch.syspath_prepend(path.parent)
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {script} ")


@pytest.mark.parametrize(("script", "command"), SCRIPTS.items())
def test_scripts_are_doors_to_their_commands(script, command):
    done = run(ROOT / "scripts" / script, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: armoe-jax {command} ")
