"""Measuring pairs."""

import json
from typing import NamedTuple

import numpy as np
import pytest
from made_evaluations import Pair, halfway, noisy_pair

from armoe_jax.evaluation.pairs import evaluate_pairs
from armoe_jax.images.io import read_image
from armoe_jax.metrics import ms_ssim, psnr, psnr_b, ssim
from armoe_jax.ops.resize import imresize


def test_record_has_the_documented_form(tmp_path):
    pairs = [noisy_pair("a", seed=1), noisy_pair("b", seed=2)]
    report = evaluate_pairs(lambda lq: lq, pairs, crop_border=2, save_images=tmp_path).to_dict()
    assert set(report) == {
        *("num_images", "psnr_y", "ssim_y", "lq_psnr_y", "lq_ssim_y", "images"),
        "seconds_per_image",
    }
    assert report["num_images"] == 2
    assert [image["name"] for image in report["images"]] == ["a", "b"]
    for pair, image in zip(pairs, report["images"], strict=True):
        assert image["psnr_y"] == image["lq_psnr_y"] == psnr(pair.lq, pair.gt, crop_border=2)
        assert image["ssim_y"] == image["lq_ssim_y"] == ssim(pair.lq, pair.gt, crop_border=2)
        np.testing.assert_array_equal(read_image(tmp_path / f"{pair.name}.png").pixels, pair.lq)
    assert report["psnr_y"] == pytest.approx(
        (report["images"][0]["psnr_y"] + report["images"][1]["psnr_y"]) / 2
    )
    json.dumps(report, allow_nan=False)


def test_extended_record():
    pair = noisy_pair("a", 170, 180)
    restored = halfway(pair)(pair.lq)
    report = evaluate_pairs(halfway(pair), [pair], extended=True).means
    assert report["psnr_rgb"] == psnr(restored, pair.gt, y_only=False)
    assert report["ssim_rgb"] == ssim(restored, pair.gt, y_only=False)
    assert report["psnr_b"] == psnr_b(restored, pair.gt)
    assert report["ms_ssim"] == ms_ssim(restored, pair.gt)
    assert report["lq_ms_ssim"] == ms_ssim(pair.lq, pair.gt)
    # Half of the error is a quarter of its square: 6 dB.
    assert report["gain_psnr_y"] == pytest.approx(6.0, abs=0.5)
    assert report["gain_ssim_y"] == report["ssim_y"] - report["lq_ssim_y"]


def test_infinite_and_undefined_values_are_null():
    pair = noisy_pair("a", 10, 40)
    report = evaluate_pairs(lambda lq: pair.gt, [pair], extended=True).to_dict()
    assert report["psnr_y"] is None
    assert report["gain_psnr_y"] is None
    assert report["lq_psnr_y"] > 0
    # 10 rows hold no window of SSIM, 161 are needed for MS-SSIM.
    assert report["ssim_y"] is report["lq_ssim_rgb"] is report["ms_ssim"] is None
    json.dumps(report, allow_nan=False)


def test_upscaling_is_compared_with_bicubic():
    pair = noisy_pair("a", 41, 61)
    lq = pair.lq[:20, :30]
    report = evaluate_pairs(
        lambda image: np.kron(image, np.ones((2, 2, 1), np.uint8)),
        [Pair("a", lq, pair.gt)],
        scale=2,
        crop_border=2,
    ).means
    bicubic = np.rint(np.clip(imresize(lq.astype(np.float32) / 255, 2.0), 0, 1) * 255)
    gt = pair.gt[:40, :60]
    assert report["lq_psnr_y"] == psnr(bicubic.astype(np.uint8), gt, crop_border=2)
    assert report["psnr_y"] == psnr(np.kron(lq, np.ones((2, 2, 1), np.uint8)), gt, crop_border=2)


def test_errors_name_the_image():
    pair = noisy_pair("kodim07")
    with pytest.raises(ValueError, match=r"kodim07: the original has shape \(20, 24, 3\)"):
        evaluate_pairs(lambda lq: lq, [pair._replace(lq=pair.lq[:19])])
    with pytest.raises(ValueError, match="kodim07: crop_border 10 leaves nothing"):
        evaluate_pairs(lambda lq: lq, [pair], crop_border=10)
    with pytest.raises(TypeError, match="kodim07: image is float64"):
        evaluate_pairs(lambda lq: lq / 2, [pair])
    with pytest.raises(ValueError, match="names must be unique"):
        evaluate_pairs(lambda lq: lq, [pair, pair])
    with pytest.raises(ValueError, match="no pairs"):
        evaluate_pairs(lambda lq: lq, [])


class Unreadable(NamedTuple):
    """A pair whose file is damaged."""

    name: str = "broken"

    @property
    def lq(self):
        raise ValueError("in/broken.png: cannot be read as an image")

    gt = lq


def test_a_bad_pair_is_listed_and_the_rest_measured(tmp_path):
    good, small = noisy_pair("a"), noisy_pair("b")
    pairs = [Unreadable(), good, small._replace(gt=small.gt[:9])]
    measured = evaluate_pairs(lambda lq: lq, iter(pairs), keep_going=True, save_images=tmp_path)
    assert [image.name for image in measured.images] == ["a"]
    assert measured.means["psnr_y"] == psnr(good.lq, good.gt)
    assert [failure.name for failure in measured.failed] == ["broken", "b"]
    assert measured.failed[0].reason == "in/broken.png: cannot be read as an image"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(ValueError, match=r"in/broken\.png"):
        evaluate_pairs(lambda lq: lq, iter([Unreadable()]), keep_going=True)
    with pytest.raises(ValueError, match=r"in/broken\.png"):
        evaluate_pairs(lambda lq: lq, iter(pairs))
