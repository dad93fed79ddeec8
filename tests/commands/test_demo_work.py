"""The demonstration step by step."""

import numpy as np

from armoe_jax.checkpoints.shipped import CODEC_MODEL, JPEG_MODEL
from armoe_jax.commands import demo_work
from armoe_jax.images.io import read_image


def test_jpegs_are_files_that_tell_how_they_were_coded(tmp_path):
    pairs = demo_work.coded_photographs(JPEG_MODEL, tmp_path)
    assert [pair.name for pair in pairs] == ["chelsea", "coffee"]
    for pair in pairs:
        assert pair.coding is not None
        assert pair.coding.quality == demo_work.JPEG_QUALITY
        np.testing.assert_array_equal(
            pair.lq, read_image(tmp_path / "lq" / f"{pair.name}.jpg").pixels
        )
        np.testing.assert_array_equal(
            pair.gt, read_image(tmp_path / "gt" / f"{pair.name}.png").pixels
        )


def test_network_that_adapts_to_the_qp_is_told_it(monkeypatch):
    told = []
    monkeypatch.setattr(
        demo_work, "Restorer", lambda *_, coding_quality: told.append(coding_quality)
    )
    demo_work.load_restorer(CODEC_MODEL)
    demo_work.load_restorer(JPEG_MODEL)
    assert told == [demo_work.VVC_QP, None]
