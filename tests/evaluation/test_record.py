import json

import pytest
from made_evaluations import IMAGES, VVC, evaluation

from armoe_jax.evaluation.record import Evaluation, Failure


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
