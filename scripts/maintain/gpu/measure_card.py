"""Measures many programs on one card within minutes: all are compiled side by side, then timed.

`armoe-jax benchmark` compiles one after the other, each in a process of its own: half of a lease.

    python scripts/maintain/gpu/measure_card.py [CASES.json] --out FOLDER [--seconds 240]

CASES is a list such as CASES below. A network is a `variant`, or a `config` with fields `set`. What
is not compiled after `--seconds` is left out, and said. `seconds` is the median of runs that are
waited for, `streamed` of runs that follow each other; `share` is of the card's own product of
matrices, in the case's precision. A case with `trace` is profiled, too: the kernels that take most
time are in the report, and XLA's text of the program, to look their names up in, beside it.
"""

import argparse
import gzip
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import configs
from armoe_jax.benchmark.flops import TRAINING_FACTOR, useful_flops
from armoe_jax.benchmark.measure import Work, inference_work, time_in_turns, training_work
from armoe_jax.benchmark.rows import Case
from armoe_jax.models import Network, build_model
from armoe_jax.runtime.json_files import write_json
from armoe_jax.training.setup import make_step_options
from configs import base

EXECUTION = ("dtype", "dispatch", "scan", "remat")
SMALL, BASE = "configs/armoe_w.py:jpeg_deeper", "configs/car_base.py:jpeg"
WIDE = {"set": {"model.embed_dim": 64}}
STEP = {"mode": "train", "batch": 512, "size": [64, 64], "dtype": "bfloat16"}
CAR_STEP = {"variant": "car", "mode": "train", "batch": 32, "size": [64, 64]}

CASES: list[dict[str, Any]] = [
    CAR_STEP | {"dtype": "bfloat16", "trace": "car_step"},
    CAR_STEP,
    CAR_STEP | {"dtype": "bfloat16", "dispatch": "dense"},
    CAR_STEP | {"dtype": "bfloat16", "remat": True},
    *(
        {"variant": "car", "size": [side, side], "dtype": dtype}
        | ({"trace": f"car_{side}"} if dtype == "bfloat16" and side in (256, 1024) else {})
        for side in (256, 1024, 512, 128)
        for dtype in ("bfloat16", "float32")
    ),
    {"variant": "car", "size": [256, 256], "dtype": "bfloat16", "batch": 16},
    STEP | {"config": SMALL, "trace": "small_step"},
    STEP | {"config": SMALL, "dtype": "float32"},
    STEP | {"config": SMALL, "trace": "wide_step"} | WIDE,
    STEP | {"config": BASE, "trace": "base_step"},
    {"variant": "light_sr_x2", "size": [256, 256], "dtype": "bfloat16"},
    {"variant": "light_sr_x2", "size": [256, 256]},
    {"config": SMALL, "size": [512, 768], "trace": "small"},
    {"config": SMALL, "size": [512, 768], "dtype": "bfloat16"},
    {"config": BASE, "size": [512, 768], "dtype": "bfloat16"},
]

TIMED_SECONDS = 1.0
REPEATS = (3, 20)
TOP = 40
"""Kernels of a trace that are told."""


def main(argv: list[str] | None = None) -> int:
    """Measures and prints row by row; the report is brought up to date after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="?", metavar="CASES.json", help="what (default: CASES)")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="for the report")
    parser.add_argument("--seconds", type=float, default=240, metavar="N", help="for compiling")
    parser.add_argument("--side", type=int, default=8192, metavar="N", help="of the product")
    args = parser.parse_args(argv)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    cases = CASES if args.cases is None else json.loads(Path(args.cases).read_text("utf-8"))
    end = time.monotonic() + args.seconds
    pool = ThreadPoolExecutor(os.cpu_count())
    programs = [pool.submit(_compile, case) for case in cases]
    report: dict[str, Any] = {"devices": [str(d) for d in jax.devices()], "rows": []}
    for program in programs:
        _wait(program, end)
    pool.shutdown(wait=False, cancel_futures=True)
    report["tflop_per_second"] = rates = _product_rates(args.side)
    _say(f"{report['devices']}: {rates} TFLOP/s")
    for case, program in zip(cases, programs, strict=True):
        row = case | _measured(case, program, rates, out)
        report["rows"].append(row)
        write_json(out / "card.json", report)
        _say(json.dumps({k: v for k, v in row.items() if k != "kernels"}))
    return 0


def _wait(program: Future, end: float) -> None:
    try:
        program.exception(timeout=max(0.0, end - time.monotonic()))
    except TimeoutError:
        program.cancel()


def model_of(case: dict[str, Any]) -> tuple[Network, Any]:
    """Returns the network of a case, set up, and the configuration that it is of."""
    config = configs.load(case.get("config", str(configs.FOLDER / "base.py")))
    with config.unlocked():
        if "variant" in case:
            config.model = base.model_config(case["variant"])
        config.update_from_flattened_dict(case.get("set", {}))
    options = {name: case[name] for name in EXECUTION if name in case}
    return build_model(config.model.to_dict(), **({"dtype": "float32"} | options)), config


def _compile(case: dict[str, Any]) -> tuple[Work, jax.stages.Compiled, float, float]:
    """Returns the work, its program, the seconds that compiling took, and its useful FLOP."""
    model, config = model_of(case)
    height, width = case["size"]
    mode, batch = case.get("mode", "infer"), case.get("batch", 1)
    what = Case(str(case.get("variant") or case["config"]), mode, height, width, batch)
    flop = batch * useful_flops(model.config, height, width)
    if mode == "train":
        flop *= TRAINING_FACTOR
        work = training_work(model, what, make_step_options(config, model), ema=config.train.ema)
    else:
        work = inference_work(model, what)
    start = time.monotonic()
    program = work.lower().compile()
    return work, program, time.monotonic() - start, flop


def _product_rates(side: int) -> dict[str, float]:
    """Returns TFLOP/s of a product of square matrices, by precision, at JAX's default."""
    rates = {}
    for dtype in ("float32", "bfloat16"):
        x = jax.random.normal(jax.random.key(0), (side, side)).astype(dtype)
        product = jax.jit(jnp.matmul).lower(x, x).compile()
        run = lambda x=x, product=product: product(x, x)  # noqa: E731
        jax.block_until_ready(run())
        rates[dtype] = 2 * side**3 / statistics.median(time_in_turns([run], 10)[0]) / 1e12
    return rates


def _measured(
    case: dict[str, Any], future: Future, rates: dict[str, float], out: Path
) -> dict[str, Any]:
    if not future.done() or future.cancelled():
        return {"error": "was not compiled in time"}
    try:
        work, program, compile_seconds, flop = future.result()
        run = work.bind(program)
        jax.block_until_ready(run())
        ((once,),) = time_in_turns([run], 1)
        repeats = int(min(max(TIMED_SECONDS / once, REPEATS[0]), REPEATS[1]))
        (seconds,) = time_in_turns([run], repeats)
        streamed = _streamed(run, repeats)
        kernels = _kernels(case["trace"], run, program, out) if "trace" in case else {}
    except Exception as error:  # of one program: the others are still wanted
        return {"error": f"{type(error).__name__}: {error}"[:1000]}
    memory: Any = program.memory_analysis()
    rate = flop / streamed / 1e12
    return {
        "seconds": statistics.median(seconds),
        "seconds_min": min(seconds),
        "seconds_max": max(seconds),
        "streamed": streamed,
        "repeats": repeats,
        "compile_seconds": compile_seconds,
        "temp_bytes": memory.temp_size_in_bytes,
        "argument_bytes": memory.argument_size_in_bytes,
        "tflop_per_second": rate,
        "share": rate / rates[case.get("dtype", "float32")],
        **kernels,
    }


def _streamed(run: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        result = run()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / repeats


def _kernels(
    name: str, run: Callable[[], Any], program: jax.stages.Compiled, out: Path
) -> dict[str, Any]:
    """Returns the milliseconds and the number of the kernels of a run; writes the program."""
    with gzip.open(out / f"{name}.hlo.gz", "wt") as file:
        file.write(program.as_text() or "")
    with tempfile.TemporaryDirectory() as folder:
        jax.profiler.start_trace(folder)
        jax.block_until_ready(run())
        jax.profiler.stop_trace()
        (path,) = Path(folder).rglob("*.xplane.pb")
        planes = jax.profiler.ProfileData.from_file(str(path)).planes
        totals: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0])
        for plane in planes:
            lines = [line for line in plane.lines if line.name and "Stream" in line.name]
            for line in lines if "GPU" in plane.name else ():
                for event in line.events:
                    operation = str(dict(event.stats).get("hlo_op", ""))
                    total = totals[(event.name or "")[:100], operation]
                    total[0] += event.duration_ns / 1e6
                    total[1] += 1
    rows = sorted(((total[0], int(total[1]), *key) for key, total in totals.items()), reverse=True)
    return {
        "kernel_ms": sum(milliseconds for milliseconds, *_ in rows),
        "num_kernels": sum(number for _, number, *_ in rows),
        "kernels": rows[:TOP],
    }


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # what is still being compiled is not waited for
