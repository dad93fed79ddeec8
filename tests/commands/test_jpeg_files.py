"""`restore` and `evaluate` tell networks with an interval head how JPEG files were coded."""

import dataclasses
import io
import json
import os

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from PIL import Image

from armoe_jax import load_pretrained, psnr
from armoe_jax.checkpoints.folder import LoadedModel
from armoe_jax.checkpoints.weights import save_weights
from armoe_jax.cli import main
from armoe_jax.images.io import read_image
from armoe_jax.images.jpeg import read_jpeg_coding
from armoe_jax.models import build_model

ROUNDS = int(os.environ.get("ARMOE_FUZZ_ROUNDS", "40"))

CONFIG = dataclasses.replace(networks.JPEG, grid=8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A network whose head keeps half of what it proposes, where the steps are known."""
    image = jnp.zeros((1, 8, 8, 3))
    variables = jax.tree.map(np.asarray, build_model(CONFIG).init(jax.random.key(0), image))
    variables["params"]["conv_last"]["bias"] = np.array([0.5, 0.0, 0.0], np.float32)
    head = variables["params"]["head"]
    head["weights"] = head["weights"] * np.float32(0.5)
    path = tmp_path_factory.mktemp("checkpoint") / "jpeg.safetensors"
    save_weights(path, LoadedModel(CONFIG, variables, {}))
    return str(path)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """An original of odd sides and its JPEG."""
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(37.0), np.arange(43.0))[..., None] + np.array([40, 60, 20])
    original = (smooth + rng.normal(0, 4, smooth.shape)).clip(0, 255).astype(np.uint8)
    folder = tmp_path_factory.mktemp("photo")
    for name in ("gt", "lq"):
        (folder / name).mkdir()
    Image.fromarray(original).save(folder / "gt" / "photo.png")
    Image.fromarray(original).save(folder / "lq" / "photo.jpg", quality=30)
    return folder


def test_restore_uses_what_the_file_tells(checkpoint, photo, tmp_path, caplog):
    source, target = photo / "lq" / "photo.jpg", tmp_path / "out.png"
    assert main(["restore", str(source), "-o", str(target), "--checkpoint", checkpoint]) == 0
    restorer = load_pretrained(checkpoint)
    pixels = np.asarray(Image.open(source))
    told = restorer(pixels, coding=read_jpeg_coding(source))
    np.testing.assert_array_equal(np.asarray(Image.open(target)), told)
    assert (told != restorer(pixels)).mean() > 0.5
    assert "photo.jpg: quality 30, 4:2:0, tables of libjpeg" in caplog.text


def test_evaluate_uses_what_the_files_tell(checkpoint, photo, tmp_path):
    words = ["--gt", str(photo / "gt"), "--checkpoint", checkpoint]
    figures = []
    for name, inputs in {
        "files": ["--lq", str(photo / "lq")],
        "coded": ["--jpeg-quality", "30"],
    }.items():
        record = tmp_path / f"{name}.json"
        assert main(["evaluate", *words, *inputs, "--json", str(record)]) == 0
        figures.append(json.loads(record.read_text())["psnr_y"])
    # Pillow's default quality scale and sampling are those of --jpeg-quality: the same files.
    assert figures[0] == pytest.approx(figures[1], abs=1e-9)
    restorer = load_pretrained(checkpoint)
    source = photo / "lq" / "photo.jpg"
    restored = restorer(np.asarray(Image.open(source)), coding=read_jpeg_coding(source))
    original = np.asarray(Image.open(photo / "gt" / "photo.png"))
    assert figures[0] == pytest.approx(psnr(restored, original), abs=1e-9)


def damaged_jpeg(number):
    """Returns a small JPEG of some kind, turned by its EXIF data, with bytes changed or cut out."""
    rng = np.random.default_rng(number)
    height, width = rng.integers(8, 64, 2)
    noise = rng.normal(120, 40, (height, width, 3)).clip(0, 255).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = number % 9, "maker"
    buffer = io.BytesIO()
    options = {"quality": int(rng.choice([10, 50, 93])), "progressive": bool(number % 2)}
    Image.fromarray(noise).save(buffer, "JPEG", exif=exif, **options)
    data = bytearray(buffer.getvalue())
    # The first 700 bytes say how the rest is read.
    reach = len(data) if rng.random() < 0.5 else min(len(data), 700)
    places = rng.integers(2, reach, rng.choice([1, 4, 16]))
    kind = rng.integers(4)
    if kind == 0:
        del data[places[0] :]
    elif kind == 1:
        del data[places[0] : places[0] + rng.integers(1, 40)]
    else:
        for place in places:
            data[place] ^= 1 << rng.integers(8) if kind == 2 else rng.integers(1, 256)
    return bytes(data)


def test_damaged_files_end_no_run(checkpoint, tmp_path, capsys):
    """Each is restored in the size of its pixels, or refused in one line; no error is a bug."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(ROUNDS):
        (source / f"{number}.jpg").write_bytes(damaged_jpeg(number))
    words = ["restore", str(source), "-o", str(out), "--format", "png", "--tile", "64"]
    assert main([*words, "--checkpoint", checkpoint]) == 1
    told = capsys.readouterr().err
    refused = [line.split(".jpg: ")[0] for line in told.splitlines() if line.startswith("failed: ")]
    restored = [path.stem for path in out.iterdir()]
    names = [line.rsplit("/", 1)[1] for line in refused]
    assert sorted([*restored, *names]) == sorted(str(number) for number in range(ROUNDS))
    assert "error of the program" not in told
    assert "Traceback" not in told
    for name in restored:
        with Image.open(out / f"{name}.png") as image:
            assert image.size == read_image(source / f"{name}.jpg").pixels.shape[1::-1]
    assert min(len(restored), len(refused)) > ROUNDS // 8


def test_restore_uses_what_pixels_tell(checkpoint, tmp_path, caplog):
    """A JPEG cropped and saved as PNG, and one saved again."""
    rng = np.random.default_rng(0)
    gray = rng.normal(128, 30, (24, 28, 1)).repeat(4, 0).repeat(4, 1)
    original = (gray + np.array([0, 10, -10])).clip(0, 255)
    Image.fromarray(original.astype(np.uint8)).save(tmp_path / "once.jpg", quality=30)
    once = np.asarray(Image.open(tmp_path / "once.jpg"))
    Image.fromarray(once[3:, 5:]).save(tmp_path / "cropped.png")
    Image.fromarray(once).save(tmp_path / "twice.jpg", quality=90)
    sources = [str(tmp_path / name) for name in ("cropped.png", "twice.jpg")]
    words = ["-o", str(tmp_path / "out"), "--checkpoint", checkpoint, "--format", "png"]
    assert main(["restore", *sources, *words]) == 0
    assert "cropped.png: its pixels show a coding at quality 30" in caplog.text
    assert "twice.jpg: quality 90, 4:2:0, tables of libjpeg" in caplog.text
    assert "twice.jpg: its pixels show a coding at quality 30, 4:2:0" in caplog.text
    file = read_jpeg_coding(tmp_path / "once.jpg")
    told = load_pretrained(checkpoint)(once, coding=file).astype(int)
    twice = np.asarray(Image.open(tmp_path / "out" / "twice.png"))
    assert np.abs(twice - told).mean() < 1.5
    cropped = np.asarray(Image.open(tmp_path / "out" / "cropped.png"))
    assert np.abs(cropped - told[3:, 5:])[5:-8, 3:-8].mean() < 1.5
