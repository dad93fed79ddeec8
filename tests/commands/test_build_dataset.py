"""`armoe-jax build-dataset`: what it is asked for, and what it refuses."""

import argparse

import numpy as np
import pytest
from PIL import Image

from armoe_jax import cli
from armoe_jax.commands import build_dataset
from input_pipeline.verify import find_trees


@pytest.fixture
def source_folder(tmp_path):
    """Two images of smooth colours."""
    folder = tmp_path / "source"
    folder.mkdir()
    rows, columns = np.mgrid[:32, :48]
    image = np.stack([4 * rows, 3 * columns, 90 + rows + columns], -1).astype(np.uint8)
    for name, part in (("a", image), ("b", image[:25, :35])):
        Image.fromarray(part).save(folder / f"{name}.png")
    return folder


def parse(*arguments):
    parser = argparse.ArgumentParser()
    build_dataset.add_arguments(parser)
    return parser.parse_args([str(argument) for argument in arguments])


def test_several_codecs_and_qualities_make_one_tree_each(source_folder, tmp_path):
    out = tmp_path / "out"
    arguments = ["--source", source_folder, "--codec", "avc", "jpeg", "--qp", "30", "40"]
    arguments += ["--quality", "50", "--workers", "1", "--out", out]
    assert build_dataset.run(parse(*arguments)) == 0
    trees = [str(tree.relative_to(out)) for tree in find_trees(out)]
    assert trees == ["avc/qp30", "avc/qp40", "jpeg/quality50"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "absent", "--qp", "27"], "there is no folder 'absent'"),
        (["--qp", "27"], "--source is missing"),
        (["--source", "SOURCE"], "--qp is missing; codec vvc takes 0 to 63"),
        (["--source", "SOURCE", "--codec", "jpeg", "--qp", "27"], "--quality is missing"),
        (["--source", "SOURCE", "--codec", "vp9", "--qp", "27"], "codec 'vp9' is unknown"),
        (["--source", "SOURCE", "--qp", "99"], "qp 99 is not one of codec vvc"),
        (["--source", "SOURCE", "--qp", "27", "--preset", "best"], "preset 'best'"),
        (["--source", "SOURCE", "--codec", "vtm", "--qp", "27"], "--vtm-encoder"),
        (["--source", "SOURCE", "--qp", "27", "--colors", "dirty"], "--colors: invalid choice"),
        (["--verify"], "holds no manifest.json"),
    ],
)
def test_bad_usage_is_one_line(arguments, message, source_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "COMMANDS", {"build-dataset": build_dataset.__name__})
    arguments = [str(source_folder) if item == "SOURCE" else item for item in arguments]
    assert cli.main(["build-dataset", *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_one_tree_is_the_folder_itself_and_several_lie_below(tmp_path):
    def folders(*arguments):
        trees = build_dataset.plan_trees(parse("--out", tmp_path, *arguments))
        return [str(tree.folder.relative_to(tmp_path)) for tree in trees]

    assert folders("--qp", 27) == ["."]
    # Each quality once, however often it is given.
    assert folders("--qp", 22, 27, 22) == ["vvc/qp22", "vvc/qp27"]
    several = ("--codec", "jpeg", "avc", "--quality", 40, "--qp", 30)
    assert folders(*several) == ["jpeg/quality40", "avc/qp30"]


def test_options_go_to_the_codecs_that_take_them(tmp_path):
    flags = ["--codec", "jpeg", "vvc", "--quality", 40, "--qp", 30, "--subsampling", "4:4:4"]
    flags += ["--disable-filter", "alf", "--halve", "jpeg", "--vtm-encoder", "EncoderApp"]
    jpeg, vvc = build_dataset.plan_trees(parse("--out", tmp_path, *flags))
    assert (jpeg.codec, jpeg.quality, jpeg.options.subsampling) == ("jpeg", 40, "4:4:4")
    assert (vvc.codec, vvc.quality, vvc.options.subsampling) == ("vvc", 30, "")
    assert vvc.options.disabled_filters == ("alf",)
    assert vvc.options.encoder == ""
    assert jpeg.halve == vvc.halve == "jpeg"
