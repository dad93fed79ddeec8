"""`armoe-jax evaluate` on real files."""

import io
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from armoe_jax.cli import main
from armoe_jax.images.io import Picture, read_image, write_image
from armoe_jax.metrics import psnr, psnr_b


def picture(height=12, width=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_evaluate_writes_json_csv_markdown_and_images(tmp_path, checkpoint, restorer, capsys):
    for i in range(2):
        write_image(tmp_path / "kodak24" / f"{i}.png", picture(seed=i))
        write_image(tmp_path / "lq" / f"{i}.webp", picture(seed=i) // 2)
    files = {name: tmp_path / f"report.{name}" for name in ("json", "csv", "markdown")}
    arguments = ["--gt", tmp_path / "kodak24", "--lq", tmp_path / "lq", "--checkpoint", checkpoint]
    arguments += [part for name, path in files.items() for part in (f"--{name}", path)]
    arguments += ["--save-images", tmp_path / "saved", "--crop-border", 0, "--qp", 27]
    assert main(["evaluate", *map(str, arguments)]) == 0
    report = json.loads(files["json"].read_text())
    assert report["num_images"] == 2
    assert [image["name"] for image in report["images"]] == ["0", "1"]
    assert {"psnr_y", "ssim_y", "lq_psnr_y", "lq_ssim_y"} <= set(report)
    assert report["published"]["psnr_y"] == 39.56
    assert files["csv"].read_text().count("\n") == 4
    assert "paper: ARMoE" in files["markdown"].read_text()
    np.testing.assert_array_equal(
        read_image(tmp_path / "saved" / "1.png").pixels, restorer(picture(seed=1) // 2)
    )
    out = capsys.readouterr().out
    assert "PSNR-Y (dB)" in out
    assert "VTM-20.0 all-intra, QP 27" in out


def test_evaluate_refuses_what_does_not_match(tmp_path, checkpoint, capsys):
    write_image(tmp_path / "gt" / "a.png", picture())
    write_image(tmp_path / "gt" / "b.png", picture())
    write_image(tmp_path / "lq" / "a.png", picture())
    arguments = ["evaluate", "--gt", str(tmp_path / "gt"), "--lq", str(tmp_path / "lq")]
    arguments += ["--checkpoint", checkpoint]
    assert main(arguments) == 2
    assert "b.png has no input" in capsys.readouterr().err
    write_image(tmp_path / "lq" / "b.png", picture())
    assert main([*arguments, "--set", "nonsense"]) == 2
    assert "no published figures" in capsys.readouterr().err
    assert main([*arguments, "--set", "kodak24", "--qp", "30"]) == 2
    assert "QP 30" in capsys.readouterr().err


def test_bad_pairs_are_listed_and_the_rest_measured(tmp_path, checkpoint, capsys):
    for i, name in enumerate(("a", "b", "c", "d")):
        write_image(tmp_path / "gt" / f"{name}.png", picture(seed=i))
        write_image(tmp_path / "lq" / f"{name}.png", picture(seed=i) // 2)
    cut = tmp_path / "lq" / "b.png"
    cut.write_bytes(cut.read_bytes()[:200])
    write_image(tmp_path / "lq" / "c.png", picture().astype(np.uint16))
    record = tmp_path / "report.json"
    arguments = ["--gt", tmp_path / "gt", "--lq", tmp_path / "lq", "--checkpoint", checkpoint]
    assert main(["evaluate", *map(str, [*arguments, "--json", record])]) == 1
    captured = capsys.readouterr()
    failures = [line for line in captured.err.splitlines() if line.startswith("failed: ")]
    assert len(failures) == 2
    assert "b.png: cannot be read as an image" in failures[0]
    assert "c.png: uint16" in failures[1]
    report = json.loads(record.read_text())
    assert [image["name"] for image in report["images"]] == ["a", "d"]
    assert report["num_images"] == 2
    assert [failure["name"] for failure in report["failed"]] == ["b", "c"]
    # The printed table begins with the worst.
    gains = [image["psnr_y"] - image["lq_psnr_y"] for image in report["images"]]
    worst = report["images"][int(np.argmin(gains))]["name"]
    lines = [line for line in captured.out.splitlines() if line.startswith(("| a ", "| d "))]
    assert lines[0].startswith(f"| {worst} ")
    # If nothing is left, it is bad usage.
    for name in ("a", "d"):
        (tmp_path / "lq" / f"{name}.png").write_bytes(b"no image")
    assert main(["evaluate", *map(str, arguments)]) == 2
    assert "no pairs of images to evaluate; a: " in capsys.readouterr().err


def test_folders_of_jpeg_files_get_psnr_b(tmp_path, shipped, capsys):
    gt = picture(32, 48)
    write_image(tmp_path / "gt" / "a.png", gt)
    write_image(tmp_path / "lq" / "a.jpg", gt, quality=30)
    record = tmp_path / "report.json"
    arguments = ["--gt", tmp_path / "gt", "--lq", tmp_path / "lq", "--json", record]
    assert main(["evaluate", *map(str, arguments)]) == 0
    header, _, row = capsys.readouterr().out.splitlines()[1:4]
    assert "input PSNR-B" in header
    lq = read_image(tmp_path / "lq" / "a.jpg").pixels
    report = json.loads(record.read_text())
    assert report["lq_psnr_b"] == psnr_b(lq, gt)
    assert report["psnr_b"] == psnr_b(shipped["car_small_jpeg"](lq), gt)
    assert f"{report['psnr_b']:.3f}" in row


class TestEvaluateOnTheFly:
    def evaluate(self, *arguments):
        return main(["evaluate", *map(str, arguments)])

    def test_jpeg_inputs_are_made_from_the_originals(self, tmp_path, shipped, capsys):
        write_image(tmp_path / "gt" / "a.png", picture(32, 48))
        record = tmp_path / "report.json"
        arguments = ["--gt", tmp_path / "gt", "--jpeg-quality", 30, "--json", record]
        arguments += ["--save-images", tmp_path / "saved"]
        assert self.evaluate(*arguments, "--jpeg-subsampling", "4:4:4") == 0
        with io.BytesIO() as coded:
            Image.fromarray(picture(32, 48)).save(coded, "JPEG", quality=30, subsampling="4:4:4")
            lq = np.asarray(Image.open(coded))
        report = json.loads(record.read_text())
        assert (report["codec"], report["qp"]) == ("jpeg", 30)
        assert report["settings"] == {"subsampling": "4:4:4"}
        assert report["lq_psnr_y"] == psnr(lq, picture(32, 48))
        saved = read_image(tmp_path / "saved" / "a.png").pixels
        np.testing.assert_array_equal(saved, shipped["car_small_jpeg"](lq))
        assert report["seconds_per_image"] > 0
        assert " s each (median)" in capsys.readouterr().out

    def test_expert_usage(self, tmp_path, shipped):
        for i in range(3):
            write_image(tmp_path / "gt" / f"{i}.png", picture(20, 15, seed=i))
        arguments = ["--gt", tmp_path / "gt", "--lq", tmp_path / "gt"]
        plain, usage, csv = (tmp_path / name for name in ("plain.json", "usage.json", "u.csv"))
        assert self.evaluate(*arguments, "--json", plain) == 0
        assert self.evaluate(*arguments, "--json", usage, "--expert-usage", "--csv", csv) == 0
        plain, usage = json.loads(plain.read_text()), json.loads(usage.read_text())
        # Odd width and all: recording changes no pixel.
        rows = [{k: v for k, v in image.items() if k != "expert"} for image in usage["images"]]
        assert rows == plain["images"]
        assert usage["expert_names"] == ["haar", "swt"]
        restorer = shipped["car_small_vvc"]
        for i, image in enumerate(usage["images"]):
            x = jnp.asarray(picture(20, 15, seed=i)[None] / np.float32(255))
            routing = restorer.apply(x, return_routing=True)[1]
            assert image["expert"] == np.asarray(routing.expert)[:, 0].tolist()
        assert csv.read_text().splitlines()[1].endswith(f",{usage['images'][0]['expert']}")

    def test_a_built_tree_says_what_it_was_coded_with(self, tmp_path, shipped):
        write_image(tmp_path / "originals" / "a.png", picture(32, 48))
        tree = tmp_path / "tree"
        words = ["--source", tmp_path / "originals", "--codec", "jpeg", "--quality", 40]
        assert main(["build-dataset", *map(str, [*words, "--out", tree])]) == 0
        record = tmp_path / "report.json"
        arguments = ["--gt", tree / "gt", "--lq", tree / "lq", "--json", record]
        assert self.evaluate(*arguments) == 0
        report = json.loads(record.read_text())
        assert (report["codec"], report["qp"], report["colors"]) == ("jpeg", 40, "clean")

    def test_usage_errors(self, tmp_path, shipped, capsys):
        write_image(tmp_path / "gt" / "a.png", picture())
        write_image(tmp_path / "gt" / "b.png", picture())
        write_image(tmp_path / "lq" / "a.png", picture())
        write_image(tmp_path / "lq" / "b.jpg", picture())
        both = ["--gt", tmp_path / "gt", "--lq", tmp_path / "lq"]
        assert self.evaluate(*both) == 2
        assert "holds JPEG files and others" in capsys.readouterr().err
        assert self.evaluate(*both, "--model", "car_small_vvc") == 0
        capsys.readouterr()
        assert self.evaluate(*both, "--jpeg-quality", 10) == 2
        assert "not allowed with argument" in capsys.readouterr().err
        assert self.evaluate(*both[:2]) == 2
        assert "--lq --jpeg-quality is required" in capsys.readouterr().err
        assert self.evaluate(*both, "--expert-usage", "--tile", 64) == 2
        assert "leave --tile and --gate out" in capsys.readouterr().err


def test_an_opaque_alpha_channel_is_dropped_as_in_training(tmp_path, checkpoint):
    opaque = np.full((12, 16), 255, np.uint8)
    write_image(tmp_path / "gt" / "a.png", Picture(picture(), alpha=opaque))
    write_image(tmp_path / "lq" / "a.png", picture() // 2)
    report = tmp_path / "report.json"
    arguments = ["--gt", tmp_path / "gt", "--lq", tmp_path / "lq", "--checkpoint", checkpoint]
    assert main(["evaluate", *map(str, arguments), "--json", str(report)]) == 0
    assert json.loads(report.read_text())["lq_psnr_y"] == pytest.approx(
        psnr(picture() // 2, picture())
    )
