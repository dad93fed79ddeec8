"""Reading processes of a run: real processes, real signals."""

import gc
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from PIL import Image

from input_pipeline.pipeline import train_loader

PROGRAM = """
import sys, time
import psutil
from input_pipeline.pipeline import train_loader
if __name__ == "__main__":
    fields = {"source": "folder", "gt": sys.argv[1], "lq": sys.argv[1], "patch_size": 8}
    fields |= {"num_workers": 1, "prefetch": 1}
    with train_loader(fields, batch_size=2, seed=1, num_steps=10**6) as loader:
        next(loader)
        print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
        time.sleep(600)
"""


@pytest.fixture
def fields(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(3):
        image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        image.save(tmp_path / f"{i}.png")
    folder = str(tmp_path)
    return {"source": "folder", "gt": folder, "lq": folder, "patch_size": 8, "prefetch": 1}


@pytest.mark.slow
def test_workers_leave_signals_to_their_parent(fields):
    """A terminal sends Ctrl-C, and a cluster SIGTERM, to all processes of a run."""
    options = {"batch_size": 2, "seed": 1, "num_steps": 12}
    with train_loader(fields, **options) as loader:
        expected = [batch["lq"] for batch in loader]
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with train_loader({**fields, "num_workers": 1}, **options) as loader:
        got = [next(loader)["lq"]]
        workers = {c.pid for c in psutil.Process().children(recursive=True)} - before
        assert workers
        for pid in workers:
            psutil.Process(pid).send_signal(signal.SIGINT)
            psutil.Process(pid).send_signal(signal.SIGTERM)
        time.sleep(0.2)
        got += [batch["lq"] for batch in loader]
    np.testing.assert_array_equal(got, expected)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.slow
def test_workers_of_a_loader_that_is_dropped_end(fields):
    """They do not hear SIGTERM, by which the interpreter ends leftover children and waits."""
    loader = train_loader({**fields, "num_workers": 1}, batch_size=2, seed=1, num_steps=10**6)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    next(loader)
    workers = {c.pid for c in psutil.Process().children(recursive=True)} - before
    assert workers
    del loader
    gc.collect()
    assert not workers & {c.pid for c in psutil.Process().children(recursive=True)}


@pytest.mark.slow
def test_workers_of_a_killed_parent_end(fields):
    command = [sys.executable, "-c", PROGRAM, fields["gt"]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        workers = [int(pid) for pid in process.stdout.readline().split()]
    assert workers
    process.kill()
    process.wait()
    deadline = time.monotonic() + 1800
    while any(map(psutil.pid_exists, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in workers if psutil.pid_exists(pid)]
