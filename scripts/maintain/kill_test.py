"""Stops training runs at random moments and checks that each continues to the same end.

python scripts/maintain/kill_test.py --trials 30 [--signals KILL TERM INT] [--workers 2]
    [--folder DIR] [--seed 0]

The signals are taken in turns; each goes to all processes of a run, as a terminal or a cluster
sends it. Every second stop waits for a checkpoint that is being written and comes in the middle of
it; the others pick any moment; a run that ends before is stopped anew. A run must then end with the
parameters, optimiser state, moving averages and metrics (timing aside) of a run that nobody
interrupted, bit for bit; and one that was asked to stop (SIGTERM, SIGINT) must have said that it
saved, and shown no traceback.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "training"))

import training_runs as runs

NUM_STEPS = 40
_UNFINISHED = "*.orbax-checkpoint-tmp*"
_TOO_LATE = "after its end"
_RUDE = "NOT IN GOOD ORDER"

runs.PATIENCE = 7200.0  # beside other work a run may take long


def main() -> int:
    """Runs the trials and returns 0 if all ended equal, else 1."""
    parser = argparse.ArgumentParser(description="Kills training runs; they must continue.")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--kills", type=int, default=1, help="how often each run is killed")
    parser.add_argument(
        "--signals", nargs="+", default=["KILL"], choices=["KILL", "TERM", "INT"], metavar="NAME"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        return _run_trials(folder, args)


def _run_trials(folder: Path, args: argparse.Namespace) -> int:
    trials, kills, rng = args.trials, args.kills, random.Random(args.seed)
    numbers = [signal.Signals[f"SIG{name}"] for name in args.signals]
    runs.write_pairs(folder / "pairs")
    overrides = runs.tiny_overrides(folder / "pairs") | {
        "train.num_steps": NUM_STEPS,
        "data.num_workers": args.workers,
    }
    flags, cache = runs.flags_of(overrides), folder / "xla"
    reference = folder / "reference"
    _complete(reference, flags, cache)
    # Once more: from now on compiled programs come from the cache, and runs are shorter.
    seconds = _complete(folder / "again", flags, cache)
    sys.stdout.write(f"uninterrupted run: {seconds:.1f} s\n")
    failures = trial = 0
    while trial < trials:
        workdir = folder / f"trial{trial}"
        moments = [
            _stop(
                workdir,
                flags,
                cache,
                rng,
                seconds,
                number=numbers[trial % len(numbers)],
                during_save=(trial // len(numbers) + i) % 2 == 1,
            )
            for i in range(kills)
        ]
        if any(_TOO_LATE in moment for moment in moments):
            seconds *= 0.8  # the machine has less to do than when this was measured
            shutil.rmtree(workdir)
            continue
        _complete(workdir, flags, cache)
        equal = _same_end(workdir, reference) and not any(_RUDE in moment for moment in moments)
        failures += not equal
        trial += 1
        sys.stdout.write(
            f"trial {trial:2}: {', '.join(moments)}: {'equal' if equal else 'DIFFERS'}\n"
        )
        sys.stdout.flush()
        if equal:
            shutil.rmtree(workdir)
    sys.stdout.write(f"{trials - failures} of {trials} runs ended equal, bit for bit\n")
    return 1 if failures else 0


def _complete(workdir: Path, flags: list[str], cache: Path) -> float:
    """Runs to the end and returns the seconds it took."""
    start = time.monotonic()
    result = runs.run(workdir, flags, cache)
    if result.returncode:
        raise SystemExit(f"the run in {workdir} failed:\n{result.stderr}")
    return time.monotonic() - start


def _stop(
    workdir: Path,
    flags: list[str],
    cache: Path,
    rng: random.Random,
    seconds: float,
    *,
    number: signal.Signals,
    during_save: bool,
) -> str:
    """Starts a run, sends a signal to all its processes, and says where it was."""
    log = Path(f"{workdir}.log")
    told_before = log.stat().st_size if log.exists() else 0
    process = runs.start(workdir, flags, cache, own_group=True)
    if during_save:
        first = rng.randrange(1, NUM_STEPS * 2 // 3)
        runs.wait_for_line(process, workdir, first)
        unfinished = workdir / "checkpoints"
        runs.wait_until(lambda: any(unfinished.glob(_UNFINISHED)), process, "a save")
        time.sleep(rng.uniform(0.0, 0.1))
    else:
        deadline = time.monotonic() + rng.uniform(0.1, 0.9) * seconds
        runs.wait_until(lambda: time.monotonic() > deadline, process, "the moment")
    half_written = any((workdir / "checkpoints").glob(_UNFINISHED))
    status = runs.end_group(process, number)
    if status == 0:
        return f"{number.name} {_TOO_LATE}"
    saved = runs.steps(workdir)
    place = f"after checkpoint {saved[-1]}" if saved else "before the first checkpoint"
    place = f"{number.name} {place}" + (", in the middle of a save" if half_written else "")
    told = log.read_text()[told_before:]
    # Before the loop, and while libraries are imported, a signal ends a process as it does any.
    if number == signal.SIGKILL or "compiled the training step" not in told:
        return place
    in_order = status == 128 + number and "saved at step" in told and "Traceback" not in told
    return place if in_order else f"{place} (status {status}, {_RUDE})"


def _same_end(workdir: Path, reference: Path) -> bool:
    last = NUM_STEPS
    same_bits = runs.fingerprints(workdir, last) == runs.fingerprints(reference, last)
    return same_bits and runs.metrics(workdir) == runs.metrics(reference)


if __name__ == "__main__":
    sys.exit(main())
