import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from armoe_jax import cli
from armoe_jax.commands import build_dataset
from armoe_jax.metrics import psnr, ssim
from input_pipeline import build as build_module
from input_pipeline.build import build
from input_pipeline.codecs import CodecOptions
from input_pipeline.image_files import list_images, read_rgb
from input_pipeline.manifest import Tree, load_manifest
from input_pipeline.verify import find_trees, verify_tree

FASTER = CodecOptions(preset="faster")


# The command alone, as its own process.
PROGRAM = """
import argparse, sys
from armoe_jax.commands import build_dataset
parser = argparse.ArgumentParser()
build_dataset.add_arguments(parser)
sys.exit(build_dataset.run(parser.parse_args()))
"""


def jpeg_tree(folder: Path, quality: int = 40) -> Tree:
    return Tree(folder, "jpeg", quality)


def problems(folder: Path) -> list[str]:
    return [problem for image in verify_tree(folder) for problem in image]


def command(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    build_dataset.add_arguments(parser)
    return build_dataset.run(parser.parse_args([str(argument) for argument in arguments]))


def test_tree_holds_pairs_bitstreams_and_what_was_measured(source_folder, tmp_path):
    out = tmp_path / "out"
    summary = build(list_images(source_folder), [Tree(out, "vvc", 37, FASTER)])
    assert (summary.built, summary.reused, summary.failures) == (3, 0, [])
    manifest = load_manifest(out)
    assert manifest["codec"] == "vvc"
    assert manifest["qp"] == 37
    assert manifest["colors"] == "clean"
    assert "libvvenc" in manifest["version"]
    assert manifest["settings"]["preset"] == "faster"
    assert [image["name"] for image in manifest["images"]] == ["a", "b", "c"]
    image = manifest["images"][1]
    gt, lq = read_rgb(out / "gt/b.png"), read_rgb(out / "lq/b.png")
    np.testing.assert_array_equal(gt, read_rgb(source_folder / "b.png"))
    assert (image["width"], image["height"]) == (35, 33)
    assert image["bits"] == 8 * (out / "bitstreams/b.266").stat().st_size
    assert image["bpp"] == pytest.approx(image["bits"] / (33 * 35), abs=1e-6)
    assert image["psnr_y"] == pytest.approx(psnr(lq, gt), abs=1e-5)
    assert image["ssim_y"] == pytest.approx(ssim(lq, gt), abs=1e-6)
    text = (out / "manifest.json").read_text()
    assert str(tmp_path) not in text
    assert sorted(path.name for path in out.iterdir()) == [
        "bitstreams",
        "gt",
        "lq",
        "manifest.json",
    ]
    assert problems(out) == []


def test_equal_builds_have_equal_manifests_and_are_not_done_twice(source_folder, tmp_path):
    sources = list_images(source_folder)
    for name in ("one", "two"):
        build(sources, [jpeg_tree(tmp_path / name)])
    one, two = tmp_path / "one/manifest.json", tmp_path / "two/manifest.json"
    assert one.read_bytes() == two.read_bytes()
    again = build(sources, [jpeg_tree(tmp_path / "one")])
    assert (again.built, again.reused) == (0, 3)
    assert one.read_bytes() == two.read_bytes()


def test_trees_of_one_build_share_the_originals(source_folder, tmp_path):
    trees = [jpeg_tree(tmp_path / "q10", 10), jpeg_tree(tmp_path / "q90", 90)]
    build(list_images(source_folder), trees)
    first, second = (tree.folder / "gt/a.png" for tree in trees)
    assert first.stat().st_ino == second.stat().st_ino
    assert problems(trees[1].folder) == []
    bpp = [load_manifest(tree.folder)["images"][0]["bpp"] for tree in trees]
    assert bpp[1] > bpp[0]


def test_originals_are_copied_where_links_are_not_possible(source_folder, tmp_path, monkeypatch):
    def refuse(source: Path, target: Path) -> None:
        raise OSError("links are not supported")

    monkeypatch.setattr(os, "link", refuse)
    trees = [jpeg_tree(tmp_path / "q10", 10), jpeg_tree(tmp_path / "q90", 90)]
    build(list_images(source_folder), trees)
    assert problems(trees[1].folder) == []


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (jpeg_tree(Path(), 50), "qp was 40, is 50"),
        (Tree(Path(), "jpeg", 40, CodecOptions(subsampling="4:4:4")), "settings was"),
        (Tree(Path(), "jpeg", 40, halve="all"), "halved_sources was 'none', is 'all'"),
        (Tree(Path(), "avc", 40), "codec was 'jpeg', is 'avc'"),
    ],
)
def test_changed_settings_are_refused(other, message, source_folder, tmp_path):
    sources = list_images(source_folder)
    build(sources, [jpeg_tree(tmp_path / "out")])
    before = (tmp_path / "out/manifest.json").read_bytes()
    changed = Tree(tmp_path / "out", other.codec, other.quality, other.options, other.halve)
    with pytest.raises(ValueError, match=f"built with other settings.*{message}"):
        build(sources, [changed])
    assert (tmp_path / "out/manifest.json").read_bytes() == before


def test_changed_settings_are_refused_in_an_unfinished_tree(source_folder, tmp_path, monkeypatch):
    sources = list_images(source_folder)

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build_module, "build_item", stop)
        with pytest.raises(KeyboardInterrupt):
            build(sources, [jpeg_tree(tmp_path / "out")])
    assert not (tmp_path / "out/manifest.json").exists()
    with pytest.raises(ValueError, match="other settings"):
        build(sources, [jpeg_tree(tmp_path / "out", 41)])
    assert build(sources, [jpeg_tree(tmp_path / "out")]).built == 3


def test_added_changed_and_removed_sources(source_folder, tmp_path):
    tree = jpeg_tree(tmp_path / "out")
    build(list_images(source_folder), [tree])
    shutil.copy(source_folder / "a.png", source_folder / "d.png")
    Image.fromarray(read_rgb(source_folder / "b.png")[::-1]).save(source_folder / "b.png")
    summary = build(list_images(source_folder), [tree])
    assert (summary.built, summary.reused) == (2, 2)
    assert problems(tree.folder) == []
    (source_folder / "c.png").unlink()
    with pytest.raises(ValueError, match="images that are not in the source: c;"):
        build(list_images(source_folder), [tree])


def test_files_that_were_deleted_are_made_again(source_folder, tmp_path):
    tree = jpeg_tree(tmp_path / "out")
    build(list_images(source_folder), [tree])
    (tmp_path / "out/lq/a.png").unlink()
    assert build(list_images(source_folder), [tree]).built == 1
    assert problems(tree.folder) == []


def test_bad_inputs_are_listed_and_skipped(source_folder, tmp_path, capsys):
    (source_folder / "torn.png").write_bytes((source_folder / "a.png").read_bytes()[:300])
    (source_folder / "none.jpg").write_bytes(b"")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(source_folder / "tiny.png")
    (source_folder / "gone.png").symlink_to(source_folder / "nowhere")
    (source_folder / "folder.png").mkdir()
    (source_folder / "._a.png").write_bytes(b"what macOS leaves beside a.png")
    out = tmp_path / "out"
    arguments = ["--source", source_folder, "--codec", "avc", "--preset", "ultrafast", "--qp", "30"]
    assert command(*arguments, "--out", out, "--workers", "1") == 1
    captured = capsys.readouterr()
    assert "3 images coded, 0 were there already, 4 failed" in captured.out
    failures = [line for line in captured.err.splitlines() if line.startswith("failed: ")]
    assert len(failures) == 4
    for name in (
        "none.jpg: the file is empty",
        "tiny.png: image of 4x4 is too small",
        "torn.png: cannot be read",
        "No such file or directory: '",
    ):
        assert any(name in line for line in failures)
    assert len(load_manifest(out)["images"]) == 3
    assert problems(out) == []


def test_an_image_that_one_codec_refuses_is_in_the_other_trees(source_folder, tmp_path):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(source_folder / "tiny.png")
    trees = [Tree(tmp_path / "vvc", "vvc", 37, FASTER), jpeg_tree(tmp_path / "jpeg")]
    summary = build(list_images(source_folder), trees)
    assert (summary.built, len(summary.failures)) == (7, 1)
    assert "tiny.png: image of 9x9 is too small for codec vvc" in summary.failures[0]
    assert [len(load_manifest(tree.folder)["images"]) for tree in trees] == [3, 4]
    assert problems(tmp_path / "jpeg") == []


def test_an_image_that_became_bad_leaves_nothing_behind(source_folder, tmp_path):
    tree = jpeg_tree(tmp_path / "out")
    build(list_images(source_folder), [tree])
    (source_folder / "b.png").write_bytes(b"")
    assert len(build(list_images(source_folder), [tree]).failures) == 1
    assert [image["name"] for image in load_manifest(tree.folder)["images"]] == ["a", "c"]
    assert problems(tree.folder) == []


def test_full_disk_stops_the_build_and_the_next_run_continues(source_folder, tmp_path, monkeypatch):
    tree = jpeg_tree(tmp_path / "out")
    written = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if "c.png" in self.name:
            raise OSError(28, "No space left on device", str(self))
        return written(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left on device"):
            build(list_images(source_folder), [tree])
    assert not (tmp_path / "out/manifest.json").exists()
    summary = build(list_images(source_folder), [tree])
    assert (summary.built, summary.reused) == (1, 2)
    assert problems(tree.folder) == []


@pytest.mark.slow
def test_killed_and_continued_build_equals_an_uninterrupted_one(photo, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(6):
        Image.fromarray(np.roll(photo, number, 1)).save(source / f"{number:02d}.png")
    arguments = ["--source", str(source), "--codec", "vvc", "jpeg", "--qp", "32"]
    arguments += ["--quality", "40", "--preset", "", "--workers", "2"]
    killed = tmp_path / "killed"
    start = [sys.executable, "-c", PROGRAM, *arguments, "--out", str(killed)]
    process = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 1800
    while len(list(killed.glob("vvc/qp32/.records/*.json"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(list(killed.glob("vvc/qp32/.records/*.json")))
    done = subprocess.run(start, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reused = int(done.stdout.split(" were there already")[0].split()[-1])
    assert reused >= 2 * finished - 2  # the two images in work may lack the second tree
    assert command(*arguments[:-1], "1", "--out", tmp_path / "whole", "--verify") == 0
    for tree in find_trees(tmp_path / "whole"):
        name = tree.relative_to(tmp_path / "whole")
        assert (tree / "manifest.json").read_bytes() == (
            killed / name / "manifest.json"
        ).read_bytes()
        for part in ("gt", "lq", "bitstreams"):
            names = sorted(path.name for path in (tree / part).iterdir())
            assert names == sorted(path.name for path in (killed / name / part).iterdir())
    assert [problem for tree in find_trees(killed) for problem in problems(tree)] == []


def test_what_workers_of_a_killed_build_leave_later_goes_too(source_folder, tmp_path):
    tree = jpeg_tree(tmp_path / "out")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    def leave(outcome):
        path = tree.folder / "gt" / f".x.png.{socket.gethostname()}-{ended.pid}-1.tmp"
        path.write_bytes(b"half")

    build(list_images(source_folder), [tree], on_outcome=leave)
    assert [path.name for path in (tree.folder / "gt").glob(".*")] == []


def test_halving_of_sources(source_folder, tmp_path):
    Image.fromarray(read_rgb(source_folder / "a.png")).save(source_folder / "j.jpg")
    build(list_images(source_folder), [Tree(tmp_path / "out", "jpeg", 90, halve="jpeg")])
    sizes = {path.stem: read_rgb(path).shape for path in (tmp_path / "out/gt").iterdir()}
    assert sizes["a"] == (32, 48, 3)
    assert sizes["j"] == (16, 24, 3)


def test_same_stems_are_refused(source_folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(source_folder / "a.png", other / "a.png")
    with pytest.raises(ValueError, match="have the same stem 'a'"):
        command(
            "--source", source_folder, other, "--quality", "40", "--codec", "jpeg", "--out", other
        )


def test_a_header_that_a_crash_left_empty_does_not_stop_a_build(source_folder, tmp_path):
    tree = jpeg_tree(tmp_path / "out")
    tree.records.mkdir(parents=True)
    (tree.records / "header").write_bytes(b"")
    assert build(list_images(source_folder), [tree]).built == 3


def test_two_builds_in_one_folder_are_refused(source_folder, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--source", source_folder, "--codec", "jpeg", "--quality", "40", "--out", out]
    with build_module.locked_trees([jpeg_tree(out)]):
        assert cli.main(["build-dataset", *map(str, arguments)]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert f"{out} is in use by process {os.getpid()}" in told
    assert list(out.iterdir()) == []
    assert cli.main(["build-dataset", *map(str, arguments)]) == 0


@pytest.mark.parametrize("damage", ["", "{}", "[" * 10_000])
def test_image_with_a_damaged_record_is_coded_again(source_folder, tmp_path, damage):
    tree = jpeg_tree(tmp_path / "out")
    tree.records.mkdir(parents=True)
    (tree.records / "a.json").write_text(damage)
    summary = build(list_images(source_folder), [tree])
    assert (summary.built, summary.failures) == (3, [])
