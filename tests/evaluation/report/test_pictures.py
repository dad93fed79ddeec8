import numpy as np
import pytest

from armoe_jax.evaluation.report import load_run
from armoe_jax.evaluation.report.pictures import load_pictures
from armoe_jax.images.io import write_image


class TestPictures:
    def test_small_inputs_are_enlarged_and_gray_gets_colors(self, tmp_path):
        write_image(tmp_path / "lq" / "a.png", np.full((4, 6), 100, np.uint8))
        write_image(tmp_path / "restored" / "a.png", np.full((8, 12), 100, np.uint8))
        write_image(tmp_path / "gt" / "a.png", np.full((9, 12), 65535, np.uint16))
        (tmp_path / "evaluation.json").write_text('{"images": [{"name": "a", "psnr_y": 1.0}]}')
        pictures = load_pictures(load_run(tmp_path), "a")
        assert {picture.shape for picture in pictures.values()} == {(8, 12, 3)}
        assert {int(pictures[kind][0, 0, 0]) for kind in pictures} == {100, 255}

    def test_sizes_that_do_not_fit(self, tmp_path):
        write_image(tmp_path / "lq" / "a.png", np.zeros((4, 6), np.uint8))
        write_image(tmp_path / "restored" / "a.png", np.zeros((4, 8), np.uint8))
        (tmp_path / "evaluation.json").write_text('{"images": [{"name": "a", "psnr_y": 1.0}]}')
        with pytest.raises(ValueError, match="6x4 pixels, the restored picture has 8x4"):
            load_pictures(load_run(tmp_path), "a")
