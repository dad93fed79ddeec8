import json

import pytest

from armoe_jax.evaluation.record import Evaluation, Failure, ImageRecord


def evaluation(images, **fields):
    """A record of rows (name, lq_psnr_y, psnr_y, chosen experts); SSIM falls with PSNR."""
    rows = []
    for name, before, after, expert in images:
        gain = None if after is None else after - before
        figures = {"psnr_y": after, "lq_psnr_y": before, "gain_psnr_y": gain}
        figures |= {"lq_ssim_y": 0.9, "ssim_y": 0.91, "gain_psnr_rgb": 0.2}
        rows.append(ImageRecord(name, figures, expert))
    return Evaluation(tuple(rows), seconds_per_image=1.234, **fields)


IMAGES = [("a", 30.0, 30.54, (0, 1)), ("b", 30.0, 29.96, (1, 1))]


VVC, JPEG = {"codec": "vvc", "qp": 27}, {"codec": "jpeg", "qp": 10}


def test_the_record_survives_json():
    whole = evaluation(
        IMAGES,
        failed=(Failure("c", "damaged"),),
        expert_names=("dct", "haar"),
        coding=VVC | {"settings": {"preset": "faster"}},
        published={"psnr_y": 39.56},
        brightness_correction=(0.5, -1.0, 0.25),
    )
    record = json.loads(json.dumps(whole.to_dict(), allow_nan=False))
    assert record["failed"] == [{"name": "c", "reason": "damaged"}]
    assert record["psnr_y"] == pytest.approx(30.25)
    assert Evaluation.from_dict(record) == whole
