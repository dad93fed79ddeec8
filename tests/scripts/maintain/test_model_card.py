"""Cards of records that are made up: every sentence follows from a field."""

import re

import pytest
import yaml
from model_card import NOT_MEASURED, render

import configs

RESULT = {
    "codec": "vvc",
    "qp": 32,
    "colors": "clean",
    "settings": {},
    "num_images": 24,
    "seconds_per_image": 0.5,
    "lq_psnr_y": 33.0,
    "psnr_y": 33.5,
    "gain_psnr_y": 0.5,
    "lq_ssim_y": 0.9,
    "ssim_y": 0.91,
    "gain_psnr_rgb": 0.375,
    "worst_image": {"name": "kodim13", "gain_psnr_y": 0.125},
}


def record(changes=None, **fields):
    config = configs.load("configs/base.py", changes or {}).to_dict()
    made = {
        "name": "car_tiny",
        "num_parameters": 12345,
        "num_bytes": 67890,
        "sha256": "00ff",
        "config": config,
        "training": {"hours": 1.5, "images_per_second": 20.5, "curve": [[100, 31.0, 30.5]]},
        "step": 2000,
        "device": "cpu",
        "command": "python -m armoe_jax.main",
        "first_losses": [0.5, 0.25, 0.125],
        "places": {"DATA": "/data"},
    }
    return made | fields


def card(changes=None, **fields):
    return re.sub(r"\s+", " ", render(record(changes, **fields)))


def test_facts_stand_where_they_belong():
    text = card({"train.num_steps": 3000, "train.batch_size": 6, "train.seed": 11})
    assert " # car_tiny " in text
    assert "`car_tiny.safetensors`, 12,345 parameters, 67,890 bytes, SHA-256 `00ff`" in text
    assert "batches of 6 patches" in text
    assert "seed 11" in text
    assert "2,000 of 3,000 steps, 1.5 hours" in text
    assert "The losses of the first 3 steps" in text
    assert "repeat car_tiny --place DATA=DIR" in text
    assert "step 100: 31.000 from 30.500." in text
    assert NOT_MEASURED in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data.codec": "hevc", "data.qps": (22, 37, 27)}, "of HEVC (QP 22 to 37) from"),
        ({"data.codec": "vvc", "data.qp": 27}, "of VVC (QP 27 to 27) from"),
        ({"data.codec": "hevc", "data.qps": (22, 37)}, "--codec hevc` at QP 22, 37."),
        ({}, "all of these qualities, told none of them."),
        ({"model.quality_range": (17.0, 42.0)}, "It estimates from the whole image how strongly"),
        ({"train.loss": "l1"}, "Recipe: l1 loss, Adam"),
        (
            {"train.objective": "quality", "model.quality_range": (17.0, 42.0)},
            "Recipe: this last run trains the estimator of the quality alone",
        ),
    ],
)
def test_sentences_follow_the_configuration(changes, words):
    assert words in card(changes)


def test_other_codecs_are_mentioned_where_they_may_be_measured():
    assert "shows what was measured of others" in card({"data.source": "built"})
    assert "It is for JPEG alone" in card({"data.source": "jpeg"})


def test_jpeg_is_coded_on_the_way():
    changes = {"data.source": "jpeg", "data.jpeg_quality": (10, 90)}
    text = card(changes | {"data.jpeg_subsampling": ("4:2:0", "4:4:4", "4:2:0")})
    assert "of JPEG (quality 10 to 90, 4:2:0 and 4:4:4) from" in text
    assert "Patches are coded as JPEG on the fly" in text


def test_a_note_ends_the_recipe():
    assert "images/s. Shortened. " in card(note="Shortened.")


def test_results_are_a_table():
    (row,) = re.findall(r"^\| VVC.*$", render(record(results=[RESULT])), re.MULTILINE)
    figures = [float(cell) for cell in row.strip("|").split("|")[1:]]
    assert figures == [24, 33.0, 33.5, 0.5, 0.125, 0.375]
    assert NOT_MEASURED not in render(record(results=[RESULT]))


@pytest.mark.parametrize(("source", "tag"), [("jpeg", "jpeg"), ("built", "vvc")])
def test_the_header_is_what_model_hubs_read(source, tag):
    start, header, text = render(record({"data.source": source})).split("---\n", 2)
    assert not start
    fields = yaml.safe_load(header)
    assert fields["license"] == "other"  # the hubs' word where license_name says which
    assert fields["pipeline_tag"] == "image-to-image"
    assert fields["tags"][2] == tag
    assert text.startswith("\n# car_tiny\n")
