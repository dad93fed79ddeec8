"""Makes tiny data, starts `python -m armoe_jax.main` as a user would, reads what a run left."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import networks
import numpy as np
from PIL import Image

from armoe_jax.training.metric_writer import read_metrics

ROOT = Path(__file__).parents[2]
PATIENCE = 1800.0  # seconds; a bound against hanging, not an expectation
TIMING_FIELDS = ("images_per_second", "seconds_per_step", "elapsed_seconds")
"""Fields of metrics that differ between two equal runs; everything else is reproducible."""


def write_pairs(folder: Path, num_train: int = 4, num_eval: int = 2) -> None:
    """Writes 32 x 24 images and noisy copies: folder/train/{gt,lq} and folder/eval/{gt,lq}."""
    rng = np.random.default_rng(1)
    ramp = np.add.outer(np.linspace(0, 150, 32), np.linspace(0, 60, 24))[..., None]
    for split, count in (("train", num_train), ("eval", num_eval)):
        for kind in ("gt", "lq"):
            (folder / split / kind).mkdir(parents=True)
        for i in range(count):
            # Images of one kind only leave the gates gradients that cancel to rounding noise.
            color, contrast = rng.uniform(0.2, 1.2, 3), rng.uniform(5, 30)
            noise = rng.normal(0, contrast, (32, 24, 3))
            gt = np.clip(color * ramp + noise, 0, 255).astype(np.uint8)
            lq = np.clip(gt - 4.0 + rng.normal(0, 6, gt.shape), 0, 255).astype(np.uint8)
            Image.fromarray(gt).save(folder / split / "gt" / f"image{i}.png")
            Image.fromarray(lq).save(folder / split / "lq" / f"image{i}.png")


CONFIG = "configs/armoe_w.py"  # most runs train the network that compiles in less time
RELEASED_CONFIG = "configs/base.py"


def tiny_overrides(pairs: Path, network: Any = networks.WINDOWED) -> dict[str, Any]:
    """Returns the fields that make CONFIG tiny, or RELEASED_CONFIG for a released network."""
    architecture = dataclasses.asdict(network)
    architecture.pop("mixture", None)  # which kind it is, the configuration says
    return {
        **{f"model.{name}": value for name, value in architecture.items() if value is not None},
        "data.source": "folder",
        "data.mixture": (),
        "data.cache": "none",
        "data.gt": str(pairs / "train/gt"),
        "data.lq": str(pairs / "train/lq"),
        "data.eval_gt": str(pairs / "eval/gt"),
        "data.eval_lq": str(pairs / "eval/lq"),
        "data.patch_size": 8,
        "train.loss": "l2",
        "train.loss_colors": "rgb",
        "train.batch_size": 8,
        "train.num_steps": 12,
        "optim.schedule": "multistep",
        "optim.learning_rate": 2e-4,
        "optim.warmup_steps": 0,
        "checkpoint.every": 3,
        "eval.every": 6,
        "log.every": 4,
        "log.tensorboard": False,
    }


def flags_of(overrides: dict[str, Any]) -> list[str]:
    """Returns overrides as command line flags."""
    return [f"--config.{name}={value}" for name, value in overrides.items()]


def environment(cache: Path, devices: int = 1) -> dict[str, str]:
    """Returns variables that let all runs of a test session share compiled programs."""
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def command(workdir: Path, flags: list[str], config: str = CONFIG) -> list[str]:
    """Returns the command line of a run."""
    program = [sys.executable, "-m", "armoe_jax.main", "--config", config]
    return [*program, "--workdir", str(workdir), *flags]


def run(
    workdir: Path, flags: list[str], cache: Path, *, devices: int = 1
) -> subprocess.CompletedProcess[str]:
    """Runs to the end."""
    return call(command(workdir, flags), environment(cache, devices))


def call(
    arguments: list[str], variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program in the project's folder and waits for it."""
    return subprocess.run(
        arguments, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=PATIENCE
    )


def start(
    workdir: Path,
    flags: list[str],
    cache: Path,
    *,
    devices: int = 1,
    log: str = "log",
    own_group: bool = False,
) -> "subprocess.Popen[str]":
    """Starts a run; its output goes to WORKDIR.LOG."""
    with Path(f"{workdir}.{log}").open("a") as stream:
        return subprocess.Popen(
            command(workdir, flags),
            cwd=ROOT,
            env=environment(cache, devices),
            stdout=stream,
            stderr=stream,
            text=True,
            start_new_session=own_group,
        )


def free_port() -> int:
    """Returns a port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_line(process: "subprocess.Popen[str]", workdir: Path, step: int) -> None:
    """Waits until the run has written metrics of a step at or after `step`, or has ended."""
    wait_until(
        lambda: any(line["step"] >= step for line in metrics(workdir)), process, f"step {step}"
    )


def wait_until(condition: Any, process: "subprocess.Popen[str]", what: str) -> None:
    """Polls a condition while a process runs."""
    deadline = time.monotonic() + PATIENCE
    while not condition() and process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
            raise TimeoutError(f"waited {PATIENCE} s for {what}")
        time.sleep(0.02)


def end(process: "subprocess.Popen[str]", number: int = signal.SIGKILL) -> int:
    """Sends a signal, unless the process has ended, and returns the exit status."""
    if process.poll() is None:
        process.send_signal(number)
    return process.wait(timeout=PATIENCE)


def end_group(process: "subprocess.Popen[str]", number: int) -> int:
    """Sends a signal to all processes of a run that has a group, and returns the exit status."""
    if process.poll() is None:
        os.killpg(process.pid, number)
    return process.wait(timeout=PATIENCE)


def metrics(workdir: Path) -> list[dict[str, Any]]:
    """Returns the metrics file without its timing fields."""
    path = workdir / "metrics.jsonl"
    lines = read_metrics(path) if path.exists() else []
    return [{k: v for k, v in line.items() if k not in TIMING_FIELDS} for line in lines]


def steps(workdir: Path) -> list[int]:
    """Returns the steps of complete checkpoints."""
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())


def fingerprints(workdir: Path, step: int) -> dict[str, list[int]]:
    """Returns a number for each array of a checkpoint: equal if, and only if, the bits are."""
    text = (workdir / "checkpoints" / str(step) / "meta" / "metadata").read_text()
    return json.loads(text)["fingerprints"]
