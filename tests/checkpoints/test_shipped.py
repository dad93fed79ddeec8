"""The weights of the package: their names and files, and which suit a file."""

import pytest

from armoe_jax.checkpoints import shipped
from armoe_jax.checkpoints.shipped import CODEC_MODEL, JPEG_MODEL


def test_every_model_is_in_the_package_with_a_purpose():
    assert set(shipped.MODELS) <= set(shipped.shipped_names())
    assert set(shipped.PURPOSES) == set(shipped.MODELS)
    assert all(shipped.path_of(name).is_file() for name in shipped.shipped_names())


def test_names_are_those_of_the_files_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "WEIGHTS_FOLDER", tmp_path)
    assert shipped.shipped_names() == []
    for name in ("b.safetensors", "a_x.safetensors", "NOTICE.md"):
        (tmp_path / name).touch()
    assert shipped.shipped_names() == ["a_x", "b"]
    assert shipped.path_of("b") == tmp_path / "b.safetensors"


@pytest.mark.parametrize(
    ("name", "start", "model"),
    [
        ("a.jpg", b"\xff\xd8\xff\xe0", JPEG_MODEL),
        ("a.png", b"\xff\xd8\xff\xe0", JPEG_MODEL),  # content goes before the name
        ("a.jpg", b"\x89PNG", CODEC_MODEL),
        ("a.jpg", b"", CODEC_MODEL),
        ("a.JPEG", None, JPEG_MODEL),  # no file to look into
        ("a.webp", None, CODEC_MODEL),
    ],
)
def test_an_image_is_known_by_its_first_bytes(tmp_path, name, start, model):
    if start is not None:
        (tmp_path / name).write_bytes(start)
    assert shipped.model_for_image(tmp_path / name) == model


def test_videos_are_known_by_their_codec():
    assert shipped.model_for_codec("mjpeg") == shipped.model_for_codec("mjpegb") == JPEG_MODEL
    assert shipped.model_for_codec("h264") == CODEC_MODEL
