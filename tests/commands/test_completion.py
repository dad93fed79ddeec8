"""The completion script, in a real shell."""

import shutil
import subprocess

import pytest

from armoe_jax import cli
from armoe_jax.commands.completion import SHELLS


@pytest.fixture
def complete(capsys, tmp_path):
    """Returns what bash offers for words that were typed, the last one unfinished."""
    if not shutil.which("bash"):
        pytest.skip("no bash here")
    assert cli.main(["completion", "bash"]) == 0
    script = tmp_path / "script.bash"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "photos").mkdir()

    def offered(*words: str) -> set[str]:
        typed = " ".join(f"'{word}'" for word in words)
        lines = f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}"
        run = f"source {script}; {lines}; _shtab_armoe_jax; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        done = subprocess.run(
            ["bash", "-c", run], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return set(done.stdout.split())

    return offered


def test_bash_offers_commands_options_choices_and_files(complete):
    assert complete("armoe-jax", "re") == {"restore", "report"}
    assert complete("armoe-jax", "restore", "--over") == {"--overlap", "--overwrite"}
    assert complete("armoe-jax", "restore", "--dtype", "b") == {"bfloat16"}
    assert {"photo.jpg", "photos"} <= complete("armoe-jax", "restore", "ph")
    assert complete("armoe-jax", "evaluate", "--gt", "ph") == {"photos"}


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_a_script_that_names_the_commands(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in cli.COMMANDS)
