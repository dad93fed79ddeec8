"""The command as a user runs it: real processes, real files, real signals."""

import json
import shutil
import signal
import sys
from pathlib import Path

import networks
import pytest
import training_runs as runs
from absl.testing import flagsaver

import configs
from armoe_jax.checkpoints.weights import load_weights

NUM_STEPS = 12  # as in tiny_overrides: checkpoints every 3 steps, validation every 6


@pytest.fixture(scope="module")
def cache(xla_cache):
    return xla_cache


@pytest.fixture(scope="module")
def flags(tiny_flags):
    return tiny_flags


@pytest.fixture(scope="module")
def reference(finished_run):
    return finished_run


def assert_same_end(workdir, reference_dir):
    assert runs.fingerprints(workdir, NUM_STEPS) == runs.fingerprints(reference_dir, NUM_STEPS)
    assert runs.metrics(workdir) == runs.metrics(reference_dir)


def assert_nearly_same_losses(workdir, reference_dir):
    got, want = runs.metrics(workdir), runs.metrics(reference_dir)
    assert [line["step"] for line in got] == [line["step"] for line in want]
    for a, b in zip(got, want, strict=True):
        if "loss" in a:
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


@pytest.mark.slow
def test_a_run_leaves_everything_beside_it(reference):
    workdir, result = reference
    lines = runs.metrics(workdir)
    assert [line["step"] for line in lines if "loss" in line] == [4, 8, 12]
    assert [line["step"] for line in lines if "eval/psnr_y" in line] == [6, 12]
    assert runs.steps(workdir)[-1] == NUM_STEPS
    assert json.loads((workdir / "config.json").read_text())["train"]["num_steps"] == NUM_STEPS
    (only_start,) = json.loads((workdir / "environment.json").read_text())["starts"]
    assert only_start["step"] == 0
    assert only_start["packages"]["jax"]
    assert len(only_start["devices"]) == 1
    assert "conv_first/kernel" in (workdir / "parameters.txt").read_text()
    report = json.loads((workdir / "evaluation.json").read_text())
    assert report["num_images"] == 2
    assert {p.name for p in (workdir / "restored").iterdir()} == {"image0.png", "image1.png"}
    assert (workdir / "comparison.png").exists()
    # The table on stdout, the rest on stderr.
    assert "mean" in result.stdout
    assert "compiled the training step" in result.stderr
    assert "memory of one device in MiB" in result.stderr
    assert f"training: {NUM_STEPS} of {NUM_STEPS} steps" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_the_published_configuration_trains_and_is_read_back(pairs_dir, cache, tmp_path):
    """The command of the README, with a small network of its kind."""
    overrides = runs.tiny_overrides(pairs_dir, networks.RELEASED) | {"train.num_steps": 2}
    workdir = tmp_path / "run"
    command = runs.command(workdir, runs.flags_of(overrides), "configs/car_qp27.py")
    result = runs.call(command, runs.environment(cache))
    assert result.returncode == 0, result.stderr
    assert json.loads((workdir / "evaluation.json").read_text())["num_images"] == 2
    assert load_weights(workdir).config == networks.RELEASED


@pytest.mark.slow
def test_running_a_finished_run_again_only_evaluates(reference, flags, cache, tmp_path):
    workdir, first = reference
    before = runs.metrics(workdir)
    again = runs.run(workdir, flags, cache)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout
    assert "compiled the training step" not in again.stderr
    assert runs.metrics(workdir) == before
    evaluated = runs.run(workdir, [*flags, "--mode", "eval"], cache)
    assert evaluated.stdout == first.stdout


@pytest.mark.slow
def test_a_run_killed_twice_ends_as_if_nothing_had_happened(reference, flags, cache, tmp_path):
    workdir = tmp_path / "run"
    process = runs.start(workdir, flags, cache)
    unfinished = lambda: list((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))  # noqa: E731
    runs.wait_until(unfinished, process, "an unfinished checkpoint")
    assert runs.end(process, signal.SIGKILL) == -signal.SIGKILL
    # Again, between saves: metrics come every fourth step, checkpoints every third.
    reached = max((line["step"] for line in runs.metrics(workdir)), default=0)
    process = runs.start(workdir, flags, cache)
    runs.wait_for_line(process, workdir, reached + 4)
    assert runs.end(process, signal.SIGKILL) == -signal.SIGKILL
    finish(workdir, flags, cache)
    assert_same_end(workdir, reference[0])


def finish(workdir, flags, cache, **kwargs):
    """Continues a run to its end and returns what it told."""
    result = runs.run(workdir, flags, cache, **kwargs)
    assert result.returncode == 0, result.stderr
    return result.stderr


@pytest.mark.slow
def test_sigterm_saves_first(reference, flags, cache, tmp_path):
    workdir = tmp_path / "run"
    process = runs.start(workdir, flags, cache)
    runs.wait_for_line(process, workdir, 4)
    # A shell reports a process ended by SIGTERM as 128 + 15.
    assert runs.end(process, signal.SIGTERM) == 143
    saved = runs.steps(workdir)[-1]
    log = Path(f"{workdir}.log").read_text()
    assert f"saved at step {saved}; run the same command again" in log
    assert "Traceback" not in log
    assert f"continuing at step {saved} of {NUM_STEPS}" in finish(workdir, flags, cache)
    assert_same_end(workdir, reference[0])


@pytest.mark.slow
def test_ctrl_c_to_all_processes_saves_first(reference, flags, cache, tmp_path):
    workdir = tmp_path / "run"
    with_workers = [*flags, "--config.data.num_workers=2"]
    process = runs.start(workdir, with_workers, cache, own_group=True)
    runs.wait_for_line(process, workdir, 4)
    assert runs.end_group(process, signal.SIGINT) == 130
    log = Path(f"{workdir}.log").read_text()
    assert f"saved at step {runs.steps(workdir)[-1]}; run the same command again" in log
    assert "Traceback" not in log
    finish(workdir, with_workers, cache)
    assert_same_end(workdir, reference[0])


@pytest.mark.slow
def test_two_processes_save_together_and_one_continues(reference, flags, cache, tmp_path):
    """Four devices each, the state split over all; SIGTERM reaches one, and both save."""
    workdir = tmp_path / "run"
    address = f"127.0.0.1:{runs.free_port()}"
    together = [
        "--config.sharding.fsdp=True",
        "--config.distributed.enabled=True",
        f"--config.distributed.coordinator_address={address}",
        "--config.distributed.num_processes=2",
    ]
    processes = [
        runs.start(
            workdir,
            [*flags, *together, f"--config.distributed.process_id={i}"],
            cache,
            devices=4,
            log=f"{i}.log",
        )
        for i in range(2)
    ]
    try:
        runs.wait_for_line(processes[0], workdir, 4)
        processes[1].send_signal(signal.SIGTERM)
        statuses = [process.wait(timeout=runs.PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
    logs = [Path(f"{workdir}.{i}.log").read_text() for i in range(2)]
    assert statuses == [143, 143], logs
    saved = runs.steps(workdir)[-1]
    assert all(f"saved at step {saved}; run the same command again" in log for log in logs)
    assert "split over the mesh" in logs[0]
    assert "compiled the training step" in logs[0]
    assert "compiled the training step" not in logs[1]
    assert f"continuing at step {saved} of {NUM_STEPS}" in finish(workdir, flags, cache)
    assert_nearly_same_losses(workdir, reference[0])


@pytest.mark.slow
def test_neither_a_full_disk_nor_a_damaged_checkpoint_ends_a_run(reference, flags, cache, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(reference[0], workdir)
    older, newer, last = before = runs.steps(workdir)
    # The kernel refuses files above 16 KiB, as a full disk refuses the next block.
    limited = (
        "import resource, runpy, signal, sys;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384));"
        "sys.argv[0] = 'main';"
        "runpy.run_module('armoe_jax.main', run_name='__main__')"
    )
    arguments = runs.command(workdir, [*flags, "--config.train.num_steps=18"])[3:]
    result = runs.call([sys.executable, "-c", limited, *arguments], runs.environment(cache))
    assert result.returncode == 1, result.stderr
    assert f"continuing at step {last} of 18" in result.stderr
    assert "Traceback" not in result.stderr
    (told,) = [x for x in result.stderr.splitlines() if x.startswith("armoe_jax.main: ")]
    assert "could not" in told
    assert f"the checkpoints of steps {before} are intact" in told
    assert runs.steps(workdir) == before
    newest = Path("checkpoints") / str(last)
    assert contents(workdir / newest) == contents(reference[0] / newest)

    shutil.rmtree(workdir / newest)
    for data in (workdir / "checkpoints" / str(newer)).glob("model/**/d/*"):
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 0x10
        data.write_bytes(content)
    told = finish(workdir, flags, cache)
    assert f"the checkpoint of step {newer} is damaged and is not used" in told
    assert f"continuing at step {older} of {NUM_STEPS}" in told
    assert (workdir / "damaged_checkpoints" / str(newer)).is_dir()
    assert_same_end(workdir, reference[0])


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def one_line(text):
    (line,) = text.strip().splitlines()
    return line


def configured(tmp_path, *arguments):
    """Arguments of a run whose images are nowhere."""
    folder = ["--config", "configs/car_qp27.py", "--config.data.source=folder"]
    return [*folder, "--workdir", str(tmp_path / "run"), *arguments]


@pytest.mark.slow
def test_bad_usage_is_one_line_and_status_2(tmp_path):
    arguments = configured(tmp_path, "--config.data.gt=no/such/folder")
    result = runs.call([sys.executable, "-m", "armoe_jax.main", *arguments])
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert "armoe-jax build-dataset" in one_line(result.stderr)


@pytest.fixture
def refusal(monkeypatch, capsys):
    """Returns what parsing a wrong command line prints before it ends the process with status 2."""
    from armoe_jax.main import main, parse_flags

    def parse(*arguments):
        with flagsaver.flagsaver():
            try:
                status = main(parse_flags(["main", *arguments]))
            except SystemExit as stop:
                status = stop.code
        assert status == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        return one_line(printed.err)

    monkeypatch.chdir(runs.ROOT)
    return parse


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense=1"], "Unknown command line flag 'nonsense'"),
        (["--config.train.num_stepz=3"], "num_stepz"),
        (["--config.train.num_steps=many"], "--config.train.num_steps=many"),
        (["--mode", "sleep"], "<train|eval>"),
        (["extra"], "unexpected arguments ['extra']"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, refusal, arguments, words):
    assert words in refusal(*configured(tmp_path, *arguments))


def test_a_run_without_a_configuration_is_refused(refusal):
    assert "--config is required" in refusal()
    told = refusal("--config", "nope.py", "--workdir", "x")
    assert "nope.py: no such file; installed are configs/armoe_w.py, configs/base.py" in told


@pytest.mark.parametrize(
    ("words", "overrides"),
    [
        (["--config.train.seed=3", "-config.data.gt=a=b"], ["train.seed=3", "data.gt=a=b"]),
        (["--config.train.seed", "-3"], ["train.seed=-3"]),
        (
            ["--config.train.ema", "--noconfig.log.tensorboard"],
            ["train.ema=True", "log.tensorboard=False"],
        ),
    ],
)
def test_fields_are_changed_in_every_way_that_flags_are(words, overrides):
    from armoe_jax.main import split_overrides

    others = ["--config", "configs/base.py", "--workdir=x"]
    assert split_overrides([*others, *words]) == (others, overrides)
    assert split_overrides([*words, *others]) == (others, overrides)
    configs.load("configs/base.py", overrides)
