"""What a run notes of itself."""

import json
import shutil
import subprocess

import jax
import pytest

from armoe_jax.training import run_info
from armoe_jax.training.run_info import describe_environment, git_revision, save_run_info


def test_every_start_is_added_to_those_before(tmp_path):
    save_run_info(tmp_path, {"train": {"num_steps": 12}}, step=0)
    save_run_info(tmp_path, {"train": {"num_steps": 24}}, step=7)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config == {"train": {"num_steps": 24}}
    starts = json.loads((tmp_path / "environment.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [0, 7]
    assert starts[0]["packages"] == starts[1]["packages"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"start": []}', "7"])
def test_an_unreadable_list_of_starts_begins_anew(tmp_path, text):
    (tmp_path / "environment.json").write_text(text)
    save_run_info(tmp_path, {}, step=3)
    (start,) = json.loads((tmp_path / "environment.json").read_text())["starts"]
    assert start["step"] == 3


def test_the_environment_is_plain_values(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    monkeypatch.setattr(run_info, "_PACKAGES", ("jax", "no-such-package"))
    told = describe_environment()
    assert told == json.loads(json.dumps(told))
    assert told["packages"] == {"jax": jax.__version__, "no-such-package": None}
    assert told["xla_flags"] == "--xla_dump_to=x"
    assert (told["processes"], len(told["devices"])) == (1, jax.device_count())


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_revision_of_a_repository_and_none_of_a_neighbours(tmp_path, monkeypatch):
    def git(*arguments):
        names = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        command = ["git", "-C", str(tmp_path), *names, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    module = tmp_path / "package" / "run_info.py"
    module.parent.mkdir()
    module.write_text("")
    monkeypatch.setattr(run_info, "__file__", str(module))
    # Must not find a repository above the folder of temporary files.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_revision() is None
    git("init")
    (tmp_path / "other.txt").write_text("theirs")
    git("add", "other.txt")
    git("commit", "-m", "another project")
    assert git_revision() is None  # an installed copy below somebody's repository
    git("add", "package/run_info.py")
    git("commit", "-m", "ours")
    commit = git("rev-parse", "HEAD")
    assert git_revision() == commit
    module.write_text("changed")
    assert git_revision() == f"{commit}+"
    monkeypatch.setenv("PATH", "")
    assert git_revision() is None
