import json
import shutil

import pytest

from armoe_jax.evaluation.report import load_run, write_report


class TestRuns:
    def test_everything_beside_the_record_is_found(self, folders):
        run = load_run(folders[0])
        assert run.label == "JPEG quality 10"
        assert (run.codec, run.qp) == ("jpeg", 10)
        assert set(run.folders) == {"lq", "gt", "restored"}
        assert run.picture("gt", "alpha") == folders[0] / "gt" / "alpha.png"
        assert run.picture("gt", "delta") is None
        assert run.experts["beta"] == [0, 1, 1]

    def test_figures_and_gain(self, folders):
        run = load_run(folders[0] / "evaluation.json")
        record = json.loads((folders[0] / "evaluation.json").read_text())
        row = record["images"][0]
        assert run.rows["alpha"]["psnr_y"] == row["psnr_y"]
        assert run.rows["alpha"]["gain_psnr_y"] == row["psnr_y"] - row["lq_psnr_y"]
        # Halving every error is worth 20 log10 2 = 6.02 dB; rounding takes a little.
        assert run.means["gain_psnr_y"] == pytest.approx(6.02, abs=0.15)
        bpp = [row["bpp"] for row in run.rows.values()]
        assert run.means["bpp"] == pytest.approx(sum(bpp) / 3)

    def test_folders_can_be_given(self, folders, tmp_path):
        record = tmp_path / "some.json"
        shutil.copy(folders[1] / "evaluation.json", record)
        assert load_run(record).folders == {}
        run = load_run(record, lq=folders[1] / "lq", restored=folders[1] / "restored", label="mine")
        # The originals and rates lie beside the coded images, as build-dataset leaves them.
        assert run.folders["gt"] == folders[1] / "gt"
        assert (run.label, run.qp) == ("mine", 30)
        assert run.rows["alpha"]["bpp"] > 0

    def test_relative_folders_in_the_record(self, folders, tmp_path):
        record = json.loads((folders[0] / "evaluation.json").read_text())
        record |= {"lq_dir": "a/lq", "label": "with folders", "codec": "vvc", "qp": 27}
        (tmp_path / "r.json").write_text(json.dumps(record))
        shutil.copytree(folders[0] / "lq", tmp_path / "a" / "lq")
        run = load_run(tmp_path)
        assert run.folders["lq"] == tmp_path / "a" / "lq"
        assert (run.label, run.codec, run.qp) == ("with folders", "vvc", 27)

    def test_missing_figures(self, tmp_path):
        rows = [{"name": "a", "psnr_y": None, "lq_psnr_y": 30.0}, {"name": "b", "psnr_y": 31.0}]
        (tmp_path / "evaluation.json").write_text(json.dumps({"images": rows}))
        run = load_run(tmp_path)
        assert run.rows["a"]["gain_psnr_y"] is None
        assert run.means["psnr_y"] is None
        write_report(tmp_path / "r.html", [run])
        assert "&ndash;" in (tmp_path / "r.html").read_text()

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", '{"images": []}', '{"images": [{"name": "a"}]}', '{"images": [1]}']
    )
    def test_not_an_evaluation(self, tmp_path, text):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ValueError, match=r"x\.json: not"):
            load_run(tmp_path / "x.json")
        with pytest.raises(FileNotFoundError, match="holds 0 evaluations"):
            load_run(tmp_path)

    def test_nothing_there(self, tmp_path, folders):
        with pytest.raises(FileNotFoundError, match="no such evaluation"):
            load_run(tmp_path / "none")
        with pytest.raises(FileNotFoundError, match="of lq images"):
            load_run(folders[0], lq=tmp_path / "none")
        with pytest.raises(FileNotFoundError, match="no such manifest"):
            load_run(folders[0], manifest=tmp_path / "none")
