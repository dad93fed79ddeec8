import io

import numpy as np
from PIL import Image

from input_pipeline import datasets
from input_pipeline.codecs import CodecOptions, get_codec
from input_pipeline.datasets.base import coded_config, png_or_path


def test_every_codec_config_can_be_made():
    names = [config.name for config in datasets.Kodak24.BUILDER_CONFIGS]
    assert len(names) == len(set(names))
    assert {"original", "bicubic_x4", "vvc_qp27", "vvc_qp22_paper", "jpeg_quality40"} <= set(names)
    assert coded_config("vvc", 30, colors="paper", preset="fast").name == "vvc_qp30_paper_fast"
    options = CodecOptions(preset="fast", colors="paper")
    assert get_codec("vvc", options).preset == "fast"


def test_png_is_handed_over_as_a_path_only_if_rgb(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "rgb.png")
    Image.fromarray(photo).convert("RGBA").save(tmp_path / "rgba.png")
    assert png_or_path(tmp_path / "rgb.png", photo) == str(tmp_path / "rgb.png")
    encoded = png_or_path(tmp_path / "rgba.png", photo)
    assert isinstance(encoded, io.BytesIO)
    np.testing.assert_array_equal(np.asarray(Image.open(encoded)), photo)
