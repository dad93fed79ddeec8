import numpy as np

from armoe_jax.evaluation.record import Evaluation, ImageRecord
from armoe_jax.training import final_report, validation


def test_mean_correction_is_original_minus_input_in_gray_levels():
    lq = np.full((2, 4, 4, 3), 0.5, np.float32)
    gt = lq + np.array([0.0, 1 / 255, -2 / 255], np.float32)
    correction = final_report.mean_correction(iter([{"lq": lq, "gt": gt}] * 3), count=3)
    np.testing.assert_allclose(correction, [0.0, 1.0, -2.0], atol=1e-4)


def test_a_constant_is_added_rounded_and_clipped():
    image = np.array([[[0, 100, 255]]], np.uint8)
    assert final_report.add_constant(image, np.array([-3.0, 1.6, 2.0])).tolist() == [
        [[0, 102, 255]]
    ]


def evaluation(**more):
    """Two images; the second was restored without an error."""
    rows = [
        {"psnr_y": 30.5, "ssim_y": 0.9, "lq_psnr_y": 30.0, "lq_ssim_y": 0.89, **more},
        {"psnr_y": None, "ssim_y": 1.0, "lq_psnr_y": 30.0, "lq_ssim_y": 0.91, **more},
    ]
    return Evaluation(tuple(map(ImageRecord, "ab", rows)))


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_the_table_shows_gains():
    table = final_report.format_report(evaluation()).splitlines()
    assert cells(table[2]) == ["a", "30.000", "30.500", "+0.500", "0.8900", "0.9000", "+0.0100"]
    assert cells(table[3])[:4] == ["b", "30.000", "-", "-"]
    assert cells(table[4])[0] == "mean"
    assert "brightness" not in table[0]


def test_the_baseline_gets_a_column():
    table = final_report.format_report(evaluation(brightness_psnr_y=30.1)).splitlines()
    assert cells(table[0])[-1] == "brightness only"
    assert [cells(line)[-1] for line in table[2:5]] == ["+0.100"] * 3
    assert "adding one constant" in table[5]


def test_a_tile_given_as_text_becomes_a_number():
    assert validation.parse_tile("128") == 128
    assert validation.parse_tile("none") == "none"
