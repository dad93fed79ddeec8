"""`armoe-jax restore` and `armoe-jax evaluate` on real files, and as real processes."""

import dataclasses
import io
import json
import os
import subprocess
import sys

import av
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageCms

from armoe_jax import load_pretrained
from armoe_jax.checkpoints.folder import LoadedModel
from armoe_jax.checkpoints.shipped import shipped_names
from armoe_jax.checkpoints.weights import load_weights, save_weights
from armoe_jax.cli import main
from armoe_jax.commands import restore as restore_command
from armoe_jax.images.io import Picture, read_image, write_image
from armoe_jax.metrics import psnr
from armoe_jax.models import ARMoEConfig, build_model

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

CONFIG = ARMoEConfig(
    embed_dim=32,
    depth=(1,),
    num_heads=(2,),
    mlp_ratio=1.0,
    split_size=(4, 4),
    global_skip=True,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small network that changes every pixel a little."""
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    shapes = jax.eval_shape(build_model(CONFIG).init, jax.random.key(0), x)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: rng.uniform(0.01, 0.05, s.shape).astype("float32"), shapes)
    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    save_weights(path, LoadedModel(CONFIG, variables, {}))
    return str(path)


@pytest.fixture(scope="module")
def restorer(checkpoint):
    return load_pretrained(checkpoint)


def picture(height=12, width=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def run(*arguments):
    return main(["restore", *(str(argument) for argument in arguments)])


def test_one_file_to_one_file(tmp_path, checkpoint, restorer, capsys):
    write_image(tmp_path / "a.png", Picture(picture(), icc_profile=PROFILE))
    out = tmp_path / "b.png"
    assert run(tmp_path / "a.png", "-o", out, "--checkpoint", checkpoint) == 0
    result = read_image(out)
    np.testing.assert_array_equal(result.pixels, restorer(picture()))
    assert result.icc_profile == PROFILE
    assert (result.pixels != picture()).any()
    assert "restored 1 of 1 images" in capsys.readouterr().out


def test_folder_with_every_kind_and_one_bad_file(tmp_path, checkpoint, restorer, capsys):
    source, out = tmp_path / "in", tmp_path / "out"
    pixels = picture()
    write_image(source / "rgba.png", Picture(pixels, alpha=pixels[..., 0]))
    write_image(source / "deep.png", pixels.astype(np.uint16) * 257)
    write_image(source / "gray.tif", pixels[..., 1])
    write_image(source / "lossless.webp", pixels)
    write_image(source / "photo.jpeg", pixels)
    (source / "broken.jpg").write_bytes(b"not an image")
    assert run(source, "-o", out, "--checkpoint", checkpoint) == 1
    captured = capsys.readouterr()
    assert "restored 5 of 6 images" in captured.out
    assert captured.err.count("failed:") == 1
    assert captured.err.count("broken.jpg") == 1
    assert sorted(path.name for path in out.iterdir()) == [
        *("deep.png", "gray.tif", "lossless.webp", "photo.jpeg", "rgba.png"),
    ]
    rgba = read_image(out / "rgba.png")
    np.testing.assert_array_equal(rgba.pixels, restorer(pixels))
    np.testing.assert_array_equal(rgba.alpha, pixels[..., 0])
    deep = read_image(out / "deep.png").pixels
    assert deep.dtype == np.uint16
    np.testing.assert_array_equal(deep, restorer(pixels.astype(np.uint16) * 257))
    np.testing.assert_array_equal(read_image(out / "gray.tif").pixels, restorer(pixels[..., 1]))
    np.testing.assert_array_equal(read_image(out / "lossless.webp").pixels, restorer(pixels))


def test_nothing_is_overwritten_unasked(tmp_path, checkpoint, capsys):
    for name in ("a", "b"):
        write_image(tmp_path / "in" / f"{name}.png", picture())
    write_image(tmp_path / "out" / "a.png", picture(seed=1))
    arguments = (tmp_path / "in", "-o", tmp_path / "out", "--checkpoint", checkpoint)
    assert run(*arguments) == 1
    assert "give --overwrite" in capsys.readouterr().err
    np.testing.assert_array_equal(read_image(tmp_path / "out/a.png").pixels, picture(seed=1))
    assert (tmp_path / "out/b.png").exists()
    assert run(*arguments, "--overwrite") == 0
    assert (read_image(tmp_path / "out/a.png").pixels != picture(seed=1)).any()


def test_names_formats_and_alpha(tmp_path, checkpoint, capsys):
    write_image(tmp_path / "a.png", picture())
    write_image(tmp_path / "t.png", Picture(picture(), alpha=picture()[..., 0]))
    options = ("--checkpoint", checkpoint, "--suffix", "_clean", "--format", "jpg")
    out = tmp_path / "out"
    assert run(tmp_path / "a.png", tmp_path / "t.png", "-o", out, *options, "--quality", 80) == 1
    assert [path.name for path in out.iterdir()] == ["a_clean.jpg"]
    assert "cannot hold transparency" in capsys.readouterr().err


def test_batches_with_a_bad_image_restore_the_others(tmp_path, checkpoint, monkeypatch, capsys):
    for i in range(3):
        write_image(tmp_path / "in" / f"{i}.png", picture(seed=i))
    original = restore_command._restore_opened

    def fail_for_one(opened, *rest):
        if any(item.source.name == "1.png" for item, _ in opened):
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        original(opened, *rest)

    monkeypatch.setattr(restore_command, "_restore_opened", fail_for_one)
    options = ("--checkpoint", checkpoint, "--batch-size", 2)
    assert run(tmp_path / "in", "-o", tmp_path / "out", *options) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "2.png"]
    assert "1.png: out of memory; give --tile 256" in capsys.readouterr().err


def test_options_reach_the_restorer(tmp_path, checkpoint):
    image = picture(40, 48)
    write_image(tmp_path / "a.png", image)
    options = {"tile": 32, "overlap": 8, "gate": "sample", "seed": 3, "route": "image"}
    expected = load_pretrained(checkpoint, **options)(image)
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    assert (
        run(tmp_path / "a.png", "-o", tmp_path / "b.png", "--checkpoint", checkpoint, *flags) == 0
    )
    np.testing.assert_array_equal(read_image(tmp_path / "b.png").pixels, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{dir}/none.png", "-o", "{dir}/o"], "there is no file or folder"),
        (["{dir}/a.png", "-o", "{dir}/o", "--tile", "many"], "'many' is not auto"),
        (["{dir}/a.png", "-o", "{dir}/o", "--tile", "9"], "tile is 9"),
        (["{dir}/a.png", "-o", "{dir}/o", "--checkpoint", "{dir}/no.pth"], "no checkpoint"),
        (["{dir}/a.png", "-o", "{dir}/o", "--format", "gif"], "'gif' is unknown"),
        (["{dir}/a.png", "{dir}/sub/a.png", "-o", "{dir}/o"], "would both become"),
        (["{dir}/a.png"], "-o/--output"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(tmp_path, checkpoint, capsys, arguments, message):
    for name in ("a.png", "sub/a.png"):
        write_image(tmp_path / name, picture())
    arguments = [argument.format(dir=tmp_path) for argument in arguments]
    if "--checkpoint" not in arguments:
        arguments += ["--checkpoint", checkpoint]
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_missing_shipped_weights_are_explained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("armoe_jax.checkpoints.shipped.WEIGHTS_FOLDER", tmp_path)
    write_image(tmp_path / "a.jpg", picture())
    assert run(tmp_path / "a.jpg", "-o", tmp_path / "b.png") == 2
    assert "'car_small_jpeg' do not come with this installation" in capsys.readouterr().err
    assert run(tmp_path / "a.jpg", "-o", tmp_path / "b.png", "--model", "car_small_vvc") == 2
    assert "'car_small_vvc'" in capsys.readouterr().err


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
    write_image(tmp_path / "lq" / "b.png", picture().astype(np.uint16))
    assert main(arguments) == 2
    assert "uint16" in capsys.readouterr().err
    assert main([*arguments, "--set", "nonsense"]) == 2
    assert "no published figures" in capsys.readouterr().err
    assert main([*arguments, "--set", "kodak24", "--qp", "30"]) == 2
    assert "QP 30" in capsys.readouterr().err


@pytest.mark.slow
def test_real_processes_and_the_persistent_cache(tmp_path, checkpoint):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    cache = tmp_path / "programs"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "ARMOE_JAX_CACHE": str(cache)}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def restore_to(name):
        command = [sys.executable, "-m", "armoe_jax.cli", "restore", str(tmp_path / "a.png")]
        command += ["-o", str(tmp_path / name), "--checkpoint", checkpoint]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    first = restore_to("b.png")
    assert first.returncode == 0, first.stderr
    assert "Traceback" not in first.stderr
    entries = set(cache.iterdir())
    assert entries
    assert restore_to("c.png").returncode == 0
    assert {path for path in cache.iterdir() if path.name.endswith("-cache")} == {
        path for path in entries if path.name.endswith("-cache")
    }
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()


@pytest.fixture
def shipped(tmp_path, monkeypatch, checkpoint):
    """An installation with weights for both purposes; which of them ran shows in the pixels."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr("armoe_jax.checkpoints.shipped.WEIGHTS_FOLDER", folder)
    model = load_weights(checkpoint)
    for name, change in (("car_small_vvc", 0.04), ("car_small_jpeg", -0.04)):  # 10 gray levels
        last = {"kernel": np.zeros((3, 3, 64, 3), "f4"), "bias": np.full(3, change, "f4")}
        params = model.variables["params"] | {"conv_last": last}
        variables = model.variables | {"params": params}
        save_weights(
            folder / f"{name}.safetensors", dataclasses.replace(model, variables=variables)
        )
    return {name: load_pretrained(name) for name in shipped_names()}


def test_shipped_weights_are_chosen_by_what_a_file_is(tmp_path, shipped, caplog):
    source, out = tmp_path / "in", tmp_path / "out"
    write_image(source / "photo.jpg", picture(seed=1))
    write_image(source / "photo2.jpg", picture(seed=2))
    write_image(source / "frame.png", picture(seed=3))
    # A name may lie: this is a PNG.
    (source / "lying.jpeg").write_bytes((source / "frame.png").read_bytes())
    with caplog.at_level("INFO", logger="absl"):
        assert run(source, "-o", out, "--format", "png") == 0
    said = [record.getMessage() for record in caplog.records]
    said = [line for line in said if "no --checkpoint given" in line]
    assert len(said) == 2
    assert any("car_small_jpeg, the weights for JPEG files" in line for line in said)
    jpeg, vvc = shipped["car_small_jpeg"], shipped["car_small_vvc"]
    for name, restorer in (("photo.jpg", jpeg), ("photo2.jpg", jpeg), ("frame.png", vvc)):
        pixels = read_image(source / name).pixels
        result = read_image((out / name).with_suffix(".png")).pixels
        np.testing.assert_array_equal(result, restorer(pixels))
    np.testing.assert_array_equal(read_image(out / "lying.png").pixels, vvc(picture(seed=3)))
    assert (jpeg(picture()) != vvc(picture())).any()


def test_weights_named_by_model_are_used_for_every_file(tmp_path, shipped):
    write_image(tmp_path / "photo.jpg", picture())
    pixels = read_image(tmp_path / "photo.jpg").pixels
    assert run(tmp_path / "photo.jpg", "-o", tmp_path / "a.png", "--model", "car_small_vvc") == 0
    expected = shipped["car_small_vvc"](pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, expected)


def test_nothing_is_restored_if_weights_for_some_files_are_missing(tmp_path, shipped, capsys):
    (tmp_path / "weights" / "car_small_jpeg.safetensors").unlink()
    write_image(tmp_path / "in" / "a.png", picture())
    write_image(tmp_path / "in" / "b.jpg", picture())
    assert run(tmp_path / "in", "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "'car_small_jpeg' do not come with this installation (those that do: car_sm" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_videos_are_told_apart_by_their_codec(tmp_path, shipped, caplog):
    for codec, name in (("mjpeg", "a.avi"), ("ffv1", "b.mkv")):
        with av.open(str(tmp_path / name), "w") as out:
            pixel_format = "yuvj444p" if codec == "mjpeg" else "yuv444p"
            stream = out.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 32, 32, pixel_format
            frame = av.VideoFrame.from_ndarray(picture(32, 32), format="rgb24")
            out.mux(stream.encode(frame.reformat(format=pixel_format)))
            out.mux(stream.encode(None))
    with caplog.at_level("INFO", logger="absl"):
        arguments = (tmp_path / "a.avi", "-o", tmp_path / "out", "--video-codec", "ffv1")
        assert run(*arguments, "--format", "png") == 0
        assert "car_small_jpeg" in caplog.text
        assert "car_small_vvc" not in caplog.text
        assert run(tmp_path / "b.mkv", *arguments[1:]) == 0
    assert "car_small_vvc" in caplog.text


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
        assert usage["expert_names"] == ["dct", "fft", "haar", "swt"]
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
