"""`armoe-jax restore` on real files, and as a real process."""

import dataclasses
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
from armoe_jax.checkpoints.weights import load_weights, save_weights
from armoe_jax.cli import main
from armoe_jax.commands import restore as restore_command
from armoe_jax.images.io import Picture, read_image, write_image
from armoe_jax.models import build_model

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


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
    write_clip(tmp_path / "a.avi", "mjpeg", "yuvj444p")
    write_clip(tmp_path / "b.mkv")
    with caplog.at_level("INFO", logger="absl"):
        arguments = (tmp_path / "a.avi", "-o", tmp_path / "out", "--video-codec", "ffv1")
        assert run(*arguments, "--format", "png") == 0
        assert "car_small_jpeg" in caplog.text
        assert "car_small_vvc" not in caplog.text
        assert run(tmp_path / "b.mkv", *arguments[1:]) == 0
    assert "car_small_vvc" in caplog.text


def write_clip(path, codec="ffv1", pixel_format="yuv444p"):
    """Writes a video of one frame."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, pixel_format
        frame = av.VideoFrame.from_ndarray(picture(32, 32), format="rgb24")
        out.mux(stream.encode(frame.reformat(format=pixel_format)))
        out.mux(stream.encode(None))


def test_bad_usage_is_told_before_anything_is_restored(tmp_path, checkpoint, capsys):
    for name in ("a", "b"):
        write_image(tmp_path / "in" / f"{name}.png", picture())
    write_clip(tmp_path / "b.mkv")
    options = ("--checkpoint", checkpoint)
    # Three results cannot be one file, and no network takes such a tile.
    assert run(tmp_path / "in", tmp_path / "b.mkv", "-o", tmp_path / "o.mkv", *options) == 2
    assert "name a folder" in capsys.readouterr().err
    assert run(tmp_path / "b.mkv", "-o", tmp_path / "o", "--tile", 9, *options) == 2
    assert "tile is 9" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.mkv", "in"]


def test_options_that_one_network_refuses_fail_its_files_alone(tmp_path, shipped, capsys):
    """The weights for JPEG here adapt to no quality, so --coded-at is nothing to them."""
    write_image(tmp_path / "in" / "a.png", picture())
    write_image(tmp_path / "in" / "b.jpg", picture())
    out = tmp_path / "out"
    vvc = tmp_path / "weights" / "car_small_vvc.safetensors"
    model = adaptive(load_weights(vvc).config)
    vvc.unlink()
    save_weights(vvc, model)
    assert run(tmp_path / "in", "-o", out, "--coded-at", 37) == 1
    captured = capsys.readouterr()
    assert [path.name for path in out.iterdir()] == ["a.png"]
    assert "restored 1 of 2 images" in captured.out
    assert "b.jpg: car_small_jpeg: coding_quality is 37.0, but this network" in captured.err
    # A video is a file among them, and what is refused for all images may be right for it.
    write_clip(tmp_path / "c.mkv")
    both = (tmp_path / "in" / "b.jpg", tmp_path / "c.mkv", "-o", tmp_path / "mixed")
    assert run(*both, "--coded-at", 37, "--video-codec", "ffv1") == 1
    assert [path.name for path in (tmp_path / "mixed").iterdir()] == ["c.mkv"]
    # Where no network takes it, it is bad usage.
    assert run(tmp_path / "in" / "b.jpg", "-o", tmp_path / "c.png", "--coded-at", 37) == 2


def adaptive(config):
    """Returns a network that estimates the quality, or is told."""
    config = dataclasses.replace(config, quality_range=(51.0, 0.0))
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    shapes = jax.eval_shape(build_model(config).init, jax.random.key(0), x)
    variables = jax.tree.map(lambda s: np.full(s.shape, 0.02, "float32"), shapes)
    return LoadedModel(config, variables, {})


def test_comparisons_lie_beside_the_results(tmp_path, checkpoint, capsys):
    write_image(tmp_path / "a.png", picture())
    arguments = (tmp_path / "a.png", "-o", tmp_path / "b.png", "--checkpoint", checkpoint)
    assert run(*arguments, "--compare") == 0
    assert f"to look at: {tmp_path / 'b_compare.png'}" in capsys.readouterr().out
    # Labels (32 rows), both pictures of 16x12, a gap of 8, and the parts of 16x8, 16-fold.
    shape = (32 + 12 + 8 + 16 * 8, 2 * 256 + 8, 3)
    assert read_image(tmp_path / "b_compare.png").pixels.shape == shape
    (tmp_path / "b.png").unlink()
    assert run(*arguments, "--compare") == 1
    assert "b_compare.png exists; give --overwrite" in capsys.readouterr().err


def test_an_unknown_suffix_is_refused(tmp_path, checkpoint, capsys):
    write_image(tmp_path / "a.png", picture())
    assert run(tmp_path / "a.png", "-o", tmp_path / "q.xyz", "--checkpoint", checkpoint) == 2
    assert "q.xyz: the suffix '.xyz' is not that of an image" in capsys.readouterr().err
    assert not (tmp_path / "q.xyz").exists()
