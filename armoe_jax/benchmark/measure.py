"""Measures how fast networks restore and train, against what the machine can do.

All figures are of one device and one process in which nothing else runs.
"""

import dataclasses
import functools
import itertools
import operator
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from armoe_jax.benchmark.flops import TRAINING_FACTOR, useful_flops
from armoe_jax.benchmark.machine import peak_memory_bytes, reset_peak_memory
from armoe_jax.benchmark.rows import Case
from armoe_jax.convert import rules_of
from armoe_jax.convert.rules import variable_shapes
from armoe_jax.models import AnyConfig, Network
from armoe_jax.models.build import execution_defaults
from armoe_jax.models.routing import count_choices
from armoe_jax.models.stacking import stack_blocks
from armoe_jax.restore import Restorer
from armoe_jax.runtime.memory import return_freed_memory
from armoe_jax.training import sharding
from armoe_jax.training import state as train_state
from armoe_jax.training.objectives import StepOptions, batch_shapes
from armoe_jax.training.step import lower_train_step, make_train_step, metrics_shapes

MATMUL_SIZE = 2048
"""Side of the matrices whose product is the yardstick."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What came out; times in seconds, memory in bytes.

    Attributes:
        seconds: Median of the runs.
        seconds_min: Shortest run.
        seconds_max: Longest run.
        repeats: Number of runs.
        unit_seconds: Median of as many products of square float32 matrices of MATMUL_SIZE, one
            after each run: what else the machine does delays both.
        lower_seconds: Tracing and lowering the program; None with tiles: see `compile_seconds`.
        compile_seconds: XLA's work on it; with tiles, all work on all programs.
        computed_pixels: Pixels that the network sees: with tiles, more than the images have.
        temp_bytes: XLA's analysis: temporaries (with tiles, of the largest program; so all three).
        argument_bytes: XLA's analysis: weights (in training the whole state) and images.
        output_bytes: XLA's analysis: results; in training they take the place of arguments.
        peak_memory_bytes: Most memory of the process, from before lowering on.
        run_peak_bytes: The same from after compiling on; None where the system cannot tell.
        device_peak_bytes: Most memory on the accelerator up to now; None on CPU.
        expert_counts: How often each expert ran in one inference, over blocks and images (windows,
            where those choose); None in training, with tiles and without experts.
    """

    seconds: float
    seconds_min: float
    seconds_max: float
    repeats: int
    unit_seconds: float
    lower_seconds: float | None
    compile_seconds: float
    computed_pixels: int
    temp_bytes: int
    argument_bytes: int
    output_bytes: int
    peak_memory_bytes: int
    run_peak_bytes: int | None
    device_peak_bytes: int | None
    expert_counts: dict[str, int] | None


@dataclasses.dataclass(frozen=True)
class Work:
    """A program that is still to be compiled.

    Attributes:
        lower: Traces and lowers it.
        bind: Makes of the compiled program a function that runs it once and returns its arrays.
    """

    lower: Callable[[], jax.stages.Lowered]
    bind: Callable[[jax.stages.Compiled], Callable[[], Any]]


def inference_work(model: Network, case: Case) -> Work:
    """Returns the restoring of a batch with random weights and the gates' own choices.

    A run returns the images and the experts that were chosen.

    Args:
        model: The network, set up as `case` says.
        case: Size, batch, and possibly an expert for all blocks.

    Raises:
        ValueError: There is no such expert.
    """
    config = model.config
    expert = _expert_index(config, case.expert)
    shape = (case.batch, case.height, case.width, config.in_chans)
    variables = jax.device_put(stack_blocks(random_variables(config), config))
    images = jax.device_put(_random_images(shape))

    def restore(variables: Any, x: jax.Array) -> Any:
        result: Any = model.apply(variables, x, expert=expert, return_routing=True)
        y, routing = result
        return y, routing.expert

    return Work(
        lambda: jax.jit(restore).lower(variables, images),
        lambda program: functools.partial(program, variables, images),
    )


def training_work(model: Network, case: Case, options: StepOptions, *, ema: bool) -> Work:
    """Returns the project's own training step: forward, backward, Adam, averages, metrics.

    A run continues from the state that the run before left.

    Args:
        model: The network, set up as `case` says.
        case: Size of the input patches and batch.
        options: The step's loss, optimiser and so on.
        ema: Whether moving averages are kept.

    Raises:
        ValueError: The batch is too small or cannot be split.
    """
    config, fsdp = model.config, bool(case.fsdp)
    mesh = sharding.make_mesh(case.devices or 1)
    sharding.check_batch(
        case.batch,
        mesh=mesh,
        accumulation_steps=options.accumulation_steps,
        statistics=config.has_batch_statistics,
    )
    batch = jax.device_put(_random_pairs(config, case), sharding.batch_sharding(mesh))
    metrics = metrics_shapes(config.num_layers, len(config.experts))
    variables = stack_blocks(random_variables(config), config)
    state = jax.device_get(
        train_state.create(variables, options.optimizer, ema=ema, metrics=metrics)
    )
    state = sharding.place(state, train_state.shardings(state, mesh, fsdp=fsdp))
    step_fn = make_train_step(model, options)

    def bind(program: jax.stages.Compiled) -> Callable[[], Any]:
        def step() -> Any:
            nonlocal state
            state, info = program(state, batch)
            return state, info

        return step

    return Work(lambda: lower_train_step(step_fn, mesh, state, batch, fsdp=fsdp), bind)


def measure_inference(model: Network, case: Case, *, repeats: int) -> Measurement:
    """Measures `inference_work`.

    Args:
        model: The network, set up as `case` says.
        case: Size, batch, and possibly an expert for all blocks.
        repeats: Number of measured runs.

    Raises:
        ValueError: There is no such expert, or the network does not take the size.
    """
    work = inference_work(model, case)
    prepared = _prepare(work.lower)
    restore = work.bind(prepared.programs[0])
    chosen: Any = None

    def run() -> Any:
        nonlocal chosen
        y, chosen = restore()
        return y, chosen

    measured = _measure(prepared, run, repeats, _pixels(case))
    experts = model.config.experts
    if not experts:
        return measured
    chosen = np.asarray(chosen)
    totals = count_choices(chosen.reshape(len(chosen), -1), len(experts)).sum(axis=0)
    counts = dict(zip(experts, totals.tolist(), strict=True))
    return dataclasses.replace(measured, expert_counts=counts)


def measure_restoring(model: Network, case: Case, *, repeats: int) -> Measurement:
    """Measures a `Restorer` from 8-bit images to 8-bit images, whole or in tiles.

    Args:
        model: The network, set up as `case` says.
        case: Size, images at a time, tile and overlap.
        repeats: Number of measured runs.

    Raises:
        ValueError: An expert is forced, or tiles of this size and overlap cannot be laid.
    """
    config = model.config
    scan = execution_defaults(config)["scan"]
    as_restored = case.expert is None and model.scan == scan
    if not as_restored or case.tile is None or case.overlap is None:
        raise ValueError(
            f"expert={case.expert}, scan={model.scan}, tile={case.tile}, overlap={case.overlap}: a "
            f"restorer lets gates choose, has scan={scan}, and needs a tile and an overlap"
        )
    restorer = Restorer(
        config,
        random_variables(config),
        tile=case.tile,
        overlap=case.overlap,
        dtype=case.dtype,
        batch_size=case.batch,
    )
    shape = (case.batch, case.height, case.width, config.in_chans)
    images = np.rint(_random_images(shape) * 255).astype(np.uint8)
    reset_peak_memory()
    start = time.perf_counter()
    ready = restorer.prepare(case.height, case.width)
    seconds = time.perf_counter() - start
    prepared = _Prepared(ready.programs, None, seconds, peak_memory_bytes())
    shapes = itertools.starmap(ready.plan.shape, ready.plan.tiles())
    tile_pixels = sum(itertools.starmap(operator.mul, shapes))
    return _measure(
        prepared, lambda: list(restorer.restore_images(images)), repeats, case.batch * tile_pixels
    )


def measure_training(
    model: Network, case: Case, options: StepOptions, *, ema: bool, repeats: int
) -> Measurement:
    """Measures `training_work`.

    Args:
        model: The network, set up as `case` says.
        case: Size of the input patches and batch.
        options: The step's loss, optimiser and so on.
        ema: Whether moving averages are kept.
        repeats: Number of measured runs.

    Raises:
        ValueError: The batch is too small or cannot be split, or the network does not take the
            size.
    """
    work = training_work(model, case, options, ema=ema)
    prepared = _prepare(work.lower)
    return _measure(prepared, work.bind(prepared.programs[0]), repeats, _pixels(case))


def make_row(case: Case, measured: Measurement, config: AnyConfig) -> dict[str, Any]:
    """Returns one row of a report: the case, what was measured, and what follows from it.

    Useful work is that of whole images: what tiles compute twice does not count. Megapixels are
    those of the input.

    Args:
        case: What was measured.
        measured: What came out.
        config: The network's architecture.
    """
    flops = case.batch * useful_flops(config, case.height, case.width)
    if case.mode == "train":
        flops *= TRAINING_FACTOR
    rate, unit_rate = flops / measured.seconds, 2 * MATMUL_SIZE**3 / measured.unit_seconds
    per_megapixel = measured.seconds / _pixels(case) * 1e6
    return {
        **dataclasses.asdict(case),
        **dataclasses.asdict(measured),
        "images_per_second": case.batch / measured.seconds,
        "seconds_per_megapixel": per_megapixel,
        "units_per_megapixel": per_megapixel / measured.unit_seconds,
        "seconds_per_computed_megapixel": measured.seconds / measured.computed_pixels * 1e6,
        "useful_gflop": flops / 1e9,
        "gflop_per_second": rate / 1e9,
        "matmul_gflop_per_second": unit_rate / 1e9,
        "share_of_matmul": rate / unit_rate,
    }


def matrix_product(size: int) -> Callable[[], jax.Array]:
    """Returns a function that multiplies square float32 matrices, compiled and run once.

    At JAX's default precision, which on some accelerators is below float32.
    """
    x = jnp.asarray(np.random.default_rng(0).standard_normal((size, size), np.float32))
    product = jax.jit(jnp.matmul).lower(x, x).compile()
    jax.block_until_ready(product(x, x))
    return lambda: product(x, x)


def time_in_turns(runs: Sequence[Callable[[], Any]], repeats: int) -> list[list[float]]:
    """Returns the seconds of each run of each function; they take turns.

    Args:
        runs: Return arrays; each run ends when they are computed.
        repeats: 1 or more.

    Raises:
        ValueError: `repeats` is less than 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; it must be 1 or more")
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, taken in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(run())
            taken.append(time.perf_counter() - start)
    return seconds


def random_variables(config: AnyConfig, seed: int = 0) -> dict[str, Any]:
    """Returns random variables in no time: shapes come from the conversion table, not a trace.

    Kernels have variance 1 / fan-in; everything else is as in a new network.
    """
    rng = np.random.default_rng(seed)
    flat = {
        path: _random_array(rng, path.rsplit("/", 1)[-1], shape)
        for path, shape in variable_shapes(rules_of(config)).items()
    }
    return traverse_util.unflatten_dict(flat, sep="/")


def _random_array(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name == "kernel":
        return (
            rng.standard_normal(shape, np.float32) / np.float32(max(1, np.prod(shape[:-1]))) ** 0.5
        )
    constants = {"scale": 1.0, "var": 1.0, "gamma1": 1e-4, "gamma2": 1e-4}
    return np.full(shape, constants.get(name, 0.0), np.float32)


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """Compiled programs, what making them took, and how much memory that took."""

    programs: Sequence[jax.stages.Compiled]
    lower_seconds: float | None
    compile_seconds: float
    peak_bytes: int


def _prepare(lower: Callable[[], jax.stages.Lowered]) -> _Prepared:
    return_freed_memory()
    reset_peak_memory()
    start = time.perf_counter()
    lowered = lower()
    middle = time.perf_counter()
    program = lowered.compile()
    end = time.perf_counter()
    peak = peak_memory_bytes()
    return_freed_memory()  # as restoring and training do
    return _Prepared([program], middle - start, end - middle, peak)


def _measure(
    prepared: _Prepared, run: Callable[[], Any], repeats: int, computed_pixels: int
) -> Measurement:
    can_tell = reset_peak_memory()
    jax.block_until_ready(run())  # warm-up; all runs take the same memory
    peak = peak_memory_bytes()
    seconds, units = time_in_turns([run, matrix_product(MATMUL_SIZE)], repeats)
    analyses: list[Any] = [program.memory_analysis() for program in prepared.programs]
    analysis = max(analyses, key=lambda one: one.temp_size_in_bytes)
    device_stats = jax.devices()[0].memory_stats() or {}
    return Measurement(
        seconds=statistics.median(seconds),
        seconds_min=min(seconds),
        seconds_max=max(seconds),
        repeats=repeats,
        unit_seconds=statistics.median(units),
        lower_seconds=prepared.lower_seconds,
        compile_seconds=prepared.compile_seconds,
        computed_pixels=computed_pixels,
        temp_bytes=analysis.temp_size_in_bytes,
        argument_bytes=analysis.argument_size_in_bytes,
        output_bytes=analysis.output_size_in_bytes,
        peak_memory_bytes=max(prepared.peak_bytes, peak),
        run_peak_bytes=peak if can_tell else None,
        device_peak_bytes=device_stats.get("peak_bytes_in_use"),
        expert_counts=None,
    )


def _expert_index(config: AnyConfig, name: str | None) -> int | None:
    if name is None:
        return None
    if name not in config.experts:
        raise ValueError(f"expert {name!r} is not in this network; it has {config.experts}")
    return config.experts.index(name)


def _pixels(case: Case) -> int:
    return case.batch * case.height * case.width


def _random_pairs(config: AnyConfig, case: Case) -> dict[str, np.ndarray]:
    shapes = batch_shapes(config, case.batch, case.height, case.width)
    return {name: _random_images(shape.shape) for name, shape in shapes.items()}


def _random_images(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).random(shape, np.float32)
