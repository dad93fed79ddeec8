"""Options that say which network restores; the networks are stand-ins."""

import argparse

import pytest
from absl import logging

from armoe_jax import convert
from armoe_jax.checkpoints.shipped import CODEC_MODEL, JPEG_MODEL
from armoe_jax.commands.options import (
    KEYS,
    Restorers,
    add_model_arguments,
    add_restorer_arguments,
    model_name,
    tile_mode,
)
from armoe_jax.restore import pretrained
from armoe_jax.runtime import compilation_cache


def parse(*words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_model_arguments(parser)
    add_restorer_arguments(parser)
    return parser.parse_args(words)


def test_keys_are_those_that_checkpoints_are_read_by():
    assert KEYS == convert.KEYS


@pytest.fixture
def loaded(monkeypatch):
    """What is loaded, with which options."""
    asked = []

    def load(name, **options):
        asked.append((name, options))
        logging.info("a line of the checkpoint library")
        return f"restorer of {name}"

    monkeypatch.setattr(pretrained, "load_pretrained", load)
    monkeypatch.setattr(compilation_cache, "enable", lambda folder: asked.append(folder))
    return asked


@pytest.mark.parametrize(
    ("text", "mode"), [("auto", "auto"), ("none", "none"), ("released", "released"), ("256", 256)]
)
def test_tile_modes(text, mode):
    assert tile_mode(text) == mode
    assert parse("--tile", text).tile == mode


def test_a_tile_that_is_no_mode():
    with pytest.raises(argparse.ArgumentError, match="'large' is not auto, none, released or"):
        parse("--tile", "large")


def test_a_checkpoint_goes_before_a_model_and_that_before_what_suits():
    assert model_name(parse(), JPEG_MODEL) == JPEG_MODEL
    assert model_name(parse("--model", CODEC_MODEL), JPEG_MODEL) == CODEC_MODEL
    words = ("--model", CODEC_MODEL, "--checkpoint", "run")
    assert model_name(parse(*words), JPEG_MODEL) == "run"


def test_a_network_is_loaded_once_and_told_every_option(loaded):
    words = ["--checkpoint", "run", "--key", "params", "--tile", "64", "--overlap", "8"]
    words += ["--dtype", "bfloat16", "--route", "image", "--gate", "sample", "--seed", "5"]
    restorers = Restorers(parse(*words, "--coded-at", "32", "--compilation-cache", "off"))
    assert restorers("run") == restorers("run") == "restorer of run"
    (cache, (name, options)) = loaded
    assert (cache, name) == ("off", "run")
    assert options == {
        "key": "params",
        "tile": 64,
        "overlap": 8,
        "dtype": "bfloat16",
        "route": "image",
        "gate": "sample",
        "seed": 5,
        "batch_size": None,
        "coding_quality": 32.0,
    }


@pytest.fixture
def info():
    """Has the project's own logging say how far it is."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.INFO)
    yield
    logging.set_verbosity(before)


def test_weights_that_the_program_has_chosen_are_named(loaded, info, caplog):
    Restorers(parse())(JPEG_MODEL)
    assert logging.get_verbosity() == logging.INFO
    assert f"{JPEG_MODEL}, the weights for JPEG files" in caplog.text
    assert "a line of the checkpoint library" not in caplog.text
    caplog.clear()
    Restorers(parse("--model", JPEG_MODEL))(JPEG_MODEL)
    assert "no --checkpoint given" not in caplog.text


def test_weights_that_are_not_installed_are_missed_before_the_work(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr("armoe_jax.checkpoints.shipped.WEIGHTS_FOLDER", tmp_path)
    (tmp_path / f"{CODEC_MODEL}.safetensors").touch()
    restorers = Restorers(parse())
    restorers.require([CODEC_MODEL])
    message = rf"weights '{JPEG_MODEL}' do not come .*\(those that do: {CODEC_MODEL}\)"
    with pytest.raises(FileNotFoundError, match=message):
        restorers.require([CODEC_MODEL, JPEG_MODEL])
    with pytest.raises(FileNotFoundError):
        restorers(JPEG_MODEL)
    Restorers(parse("--checkpoint", "run")).require([JPEG_MODEL])  # not asked for
    assert loaded == []
