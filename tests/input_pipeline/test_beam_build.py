import argparse
import sys
from pathlib import Path

import pytest

from armoe_jax.commands import build_dataset
from input_pipeline import build as build_module
from input_pipeline.image_files import list_images
from input_pipeline.manifest import Tree
from input_pipeline.verify import verify_tree


def command(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    build_dataset.add_arguments(parser)
    return build_dataset.run(parser.parse_args([str(argument) for argument in arguments]))


def test_beam_gives_the_same_manifest(source_folder, tmp_path):
    pytest.importorskip("apache_beam", reason="needs the extra `beam`")
    (source_folder / "torn.png").write_bytes(b"")
    arguments = ["--source", source_folder, "--codec", "jpeg", "--quality", "40"]
    assert command(*arguments, "--out", tmp_path / "beam", "--beam", "runner=DirectRunner") == 1
    assert command(*arguments, "--out", tmp_path / "plain", "--workers", "1") == 1
    one, two = tmp_path / "beam/manifest.json", tmp_path / "plain/manifest.json"
    assert one.read_bytes() == two.read_bytes()


def test_beam_steps_without_a_runner(source_folder, tmp_path):
    from input_pipeline.beam_build import _finish, code_one

    (source_folder / "torn.png").write_bytes(b"")
    sources, tree = list_images(source_folder), Tree(tmp_path / "out", "jpeg", 40)
    jobs, finished, summary = build_module.plan(sources, [tree])
    assert [code_one(job) for job in jobs] == ["a", "b", "c", "torn"]
    summary = _finish(jobs, [tree], finished, summary)
    assert summary.built == 3
    assert "torn.png: the file is empty" in summary.failures[0]
    assert not any(verify_tree(tree.folder))


def test_beam_that_is_absent_is_said_so(source_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    arguments = ["--source", str(source_folder), "--codec", "jpeg", "--quality", "40"]
    arguments += ["--out", str(tmp_path / "out"), "--beam"]
    with pytest.raises(ValueError, match=r"pip install 'armoe-jax\[beam\]'"):
        command(*arguments)
