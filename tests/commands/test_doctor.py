"""`armoe-jax doctor` and `--version` tell what is there, and go on where something is broken."""

from importlib import metadata

import jax

from armoe_jax import cli
from armoe_jax.commands import doctor
from input_pipeline.codecs import ffmpeg


def test_tells_versions_devices_encoders_weights_and_caches(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("ARMOE_JAX_CACHE", str(tmp_path))
    assert cli.main(["doctor"]) == 0
    words = capsys.readouterr().out.split()
    for name in ("jax", "flax", "numpy", "av"):
        assert words[words.index(name) + 1] == metadata.version(name)
    assert words[words.index("backend") + 1] == jax.default_backend()
    assert words[words.index("avc") + 1] == "libx264"
    assert words[words.index("car_small_jpeg") + 2] == "parameters"
    assert words[words.index("programs") + 1] == f"{tmp_path},"


def test_a_missing_encoder_is_named(monkeypatch):
    monkeypatch.setattr(ffmpeg, "_encoders_of", lambda path: frozenset({"libx264"}))
    rows = dict(doctor.ffmpeg())
    assert rows["avc"] == "libx264"
    assert rows["vvc"].startswith("libvvenc is MISSING")


def test_a_broken_part_hides_nothing_else(capsys, monkeypatch):
    def broken():
        yield "program", "there"
        raise FileNotFoundError("no ffmpeg\nprogram found")

    monkeypatch.setattr(doctor, "SECTIONS", doctor.SECTIONS | {"ffmpeg": broken})
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "  FAILED: FileNotFoundError: no ffmpeg program found\n" in out
    assert "car_small_vvc" in out


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package", "jax-cuda99-plugin"))
    rows = dict(doctor.versions())
    assert rows["no-such-package"] == "MISSING"
    assert "jax-cuda99-plugin" not in rows


def test_version_names_jax_and_devices(capsys):
    assert cli.main(["--version"]) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"armoe-jax {metadata.version('armoe-jax')}, jax {jax.__version__} on ")
    assert f"{jax.device_count()} {jax.devices()[0].device_kind}" in line
    assert line.count("\n") == 1
