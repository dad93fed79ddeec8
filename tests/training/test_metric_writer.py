import json

import numpy as np
import pytest

from armoe_jax.training import metric_writer
from armoe_jax.training.metric_writer import JsonLinesWriter, create_writer, read_metrics


def test_a_line_is_one_json_object(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = JsonLinesWriter(path)
    writer.write_scalars(3, {"loss": np.float32(0.5), "skipped_steps": 2, "bad": float("nan")})
    writer.close()
    assert path.read_text() == '{"step": 3, "loss": 0.5, "skipped_steps": 2, "bad": null}\n'
    assert read_metrics(path) == [{"step": 3, "loss": 0.5, "skipped_steps": 2, "bad": None}]


def test_every_line_is_on_disk_at_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = JsonLinesWriter(path)
    writer.write_scalars(1, {"loss": 1.0})
    assert len(read_metrics(path)) == 1
    writer.close()


def test_resuming_cuts_later_lines_and_a_torn_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in (10, 20, 20, 30)]
    path.write_text("\n".join(lines) + '\n{"step": 3')
    writer = JsonLinesWriter(path, resume_step=20)
    writer.write_scalars(25, {})
    writer.close()
    assert [line["step"] for line in read_metrics(path)] == [10, 20, 20, 25]
    assert path.read_text().count("\n") == 4


def test_a_validation_to_be_done_again_is_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = ['{"step": 10, "eval/psnr_y": 30.0}', '{"step": 20, "loss": 0.5}']
    path.write_text("\n".join([*lines, '{"step": 20, "eval/psnr_y": 31.0}']) + "\n")
    metric_writer.cut_after(path, 20)
    assert len(read_metrics(path)) == 3
    metric_writer.cut_after(path, 20, validated=False)
    assert path.read_text() == "\n".join(lines) + "\n"


def test_an_unreadable_line_is_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\xff\x00garbage\n[1]\n{"step": 2}\n')
    metric_writer.cut_after(path, 5)
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n'


def test_other_processes_write_nothing(tmp_path):
    with create_writer(tmp_path, enabled=False) as writer:
        writer.write_scalars(1, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_files_hold_scalars_and_images(tmp_path):
    pytest.importorskip("tensorboardX")
    with create_writer(tmp_path) as writer:
        writer.write_hparams({"optim": {"learning_rate": 2e-4}})
        writer.write_scalars(7, {"loss": 0.25})
        writer.write_images(7, {"usage": np.full((8, 8, 3), 200, np.uint8)})
        writer.flush()
    (events,) = (tmp_path / "tensorboard").glob("events.out.tfevents.*")
    data = events.read_bytes()
    for word in (b"loss", b"usage", b"learning_rate", b"PNG"):
        assert word in data
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 7, "loss": 0.25}]


def test_without_tensorboardx_json_lines_remain(tmp_path, monkeypatch):
    monkeypatch.setattr(metric_writer.importlib.util, "find_spec", lambda name: None)
    with create_writer(tmp_path) as writer:
        writer.write_scalars(1, {"loss": 1.0})
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]
