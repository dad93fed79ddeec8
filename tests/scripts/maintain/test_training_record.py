"""Facts of a training run that are kept beside its weights."""

import json

import pytest
import training_record


def test_starts_are_those_that_the_run_has_noted(tmp_path):
    with pytest.raises(FileNotFoundError, match="give the working directory of a training run"):
        training_record.starts_of(tmp_path)
    starts = [{"step": 0, "command": ["x"]}, {"step": 7, "command": ["x"]}]
    (tmp_path / "environment.json").write_text(json.dumps({"starts": starts}))
    assert training_record.starts_of(tmp_path) == starts


def test_a_run_that_has_logged_nothing_yet(tmp_path):
    line = {"step": 10, "seconds_per_step": 1.0, "images_per_second": 1.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match="has no line up to step 9"):
        training_record.training_facts(tmp_path, 9)


def test_of_two_places_the_longer_is_meant():
    places = {"HOME": "/home/me", "DATA": "/home/me/data"}
    value = ["--gt=/home/me/data/train", {"out": ("/home/me/run", 3)}]
    named = training_record.masked(value, places)
    assert named == ["--gt=DATA/train", {"out": ["HOME/run", 3]}]
    with pytest.raises(ValueError, match="'--lq=/mnt/x' is a path of this machine"):
        training_record.masked(["--lq=/mnt/x"], places)
    # A name stands for a folder at the beginning alone.
    assert training_record.unmasked(["DATA", "x/DATA"], places) == ("/home/me/data", "x/DATA")


def evaluation(**fields):
    figures = {"lq_psnr_y": 30.0, "psnr_y": 31.0, "gain_psnr_y": 1.0, "gain_psnr_rgb": 0.8}
    figures |= {"lq_ssim_y": 0.8, "ssim_y": 0.9}
    images = [
        {"name": name, "gain_psnr_y": gain, "expert": [expert]}
        for name, gain, expert in (("a", 1.5, 0), ("b", 0.5, 1))
    ]
    record = {"codec": "jpeg", "qp": 40, "num_images": 2, "settings": {}, "images": images}
    return record | figures | {"seconds_per_image": 0.25} | fields


def test_a_summary_names_the_worst_image():
    summary = training_record.summarize_evaluation(evaluation())
    assert summary["worst_image"] == {"name": "b", "gain_psnr_y": 0.5}
    assert (summary["colors"], summary["qp"], summary["psnr_y"]) == ("clean", 40, 31.0)
    assert "images" not in summary
    summary = training_record.summarize_evaluation(
        evaluation(expert_names=["dct", "haar"], colors="paper")
    )
    assert summary["colors"] == "paper"
    assert summary["images"] == [
        {"gain_psnr_y": 1.5, "expert": [0]},
        {"gain_psnr_y": 0.5, "expert": [1]},
    ]


def test_an_evaluation_of_an_unknown_codec_has_no_summary():
    record = evaluation()
    del record["codec"]
    with pytest.raises(ValueError, match="the evaluation does not know its codec"):
        training_record.summarize_evaluation(record)
