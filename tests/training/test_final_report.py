import numpy as np

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


REPORT = {
    "num_images": 2,
    "psnr_y": 31.0,
    "ssim_y": 0.91,
    "lq_psnr_y": 30.0,
    "lq_ssim_y": 0.9,
    "images": [
        {"name": "a", "psnr_y": 30.5, "ssim_y": 0.9, "lq_psnr_y": 30.0, "lq_ssim_y": 0.89},
        {"name": "b", "psnr_y": None, "ssim_y": 1.0, "lq_psnr_y": 30.0, "lq_ssim_y": 0.91},
    ],
}


def test_the_table_shows_gains():
    table = final_report.format_report(REPORT).splitlines()
    assert "+0.50" in table[2]
    assert "inf" in table[3]
    assert table[3].split()[-1] == "-"
    assert "mean" in table[4]
    assert "+1.00" in table[4]
    assert "brightness" not in table[0]


def test_the_baseline_gets_a_column():
    report = REPORT | {"brightness_psnr_y": 30.25}
    report["images"] = [image | {"brightness_psnr_y": 30.1} for image in REPORT["images"]]
    table = final_report.format_report(report).splitlines()
    assert "brightness only" in table[0]
    assert table[2].split()[-1] == "+0.10"
    assert table[4].split()[-1] == "+0.25"


def test_a_tile_given_as_text_becomes_a_number():
    assert validation.parse_tile("128") == 128
    assert validation.parse_tile("none") == "none"
