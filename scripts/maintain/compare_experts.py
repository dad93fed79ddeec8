r"""Which experts, routed how, are worth what: trains networks at an equal budget and compares them.

python scripts/maintain/compare_experts.py --seconds 3600 --seeds 3 --gt PHOTOGRAPHS \
    --eval KODAK --json compared.json
python scripts/maintain/compare_experts.py --config configs/armoe_w.py:vvc --seconds 3600 \
    --set data.root=BUILT --eval KODAK --codings KODAK_VVC/qp27/lq KODAK_VVC/qp37/lq
python scripts/maintain/compare_experts.py --init car_small_jpeg --steps 256 --arms none more dct \
    window --gt PHOTOGRAPHS --eval KODAK --images 24 --crop 128 --codings 10 20 40 \
    --json continued.json --set "data.mixture=()" "data.jpeg_quality=(10,50)" \
    optim.learning_rate=1e-3 optim.warmup_steps=20 train.ema_decay=0.99

Arms: "plain", eight 3x3 convolutions; "none", the configured network without experts; names of
experts with "+" between them, those alone; "dense", all on every window, weighted by the gate;
"image", all, chosen by each image; "window", all, chosen by each window; "more", no experts but one
more block of residual pairs; "released", the small network with the released mixture. Of a
configuration of the released network: "plain", "none", each alone, and "all".

With --init all arms continue from trained weights, whose architecture they take over; what they add
to it puts out 0 at first, so that all start equal.

The budget is CPU seconds of training (for one core: taskset -c 0), compiling and evaluating not
counted; the length of the learning rate's schedule follows from the first steps. Or it is a number
of steps. A seed is that of weights, data and noise: with one seed all arms see the same images.
Gains are means over central crops of the evaluation images, in dB PSNR-Y; networks know the steps
of JPEGs where they can, and the QP of a folder whose path names it, such as vvc/qp27/lq. The table
gives their mean over seeds and its standard error, those of the difference to "none" with the same
seed, and what is left of the gain when the trained experts are silenced. What --json holds is not
done again.
"""

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags, logging
from flax import traverse_util

import configs
from armoe_jax.checkpoints.weights import load_weights
from armoe_jax.evaluation.windowed import silenced
from armoe_jax.experts import FRAMES
from armoe_jax.images.jpeg import JpegCoding, encode_jpeg
from armoe_jax.metrics import psnr
from armoe_jax.models import ARMoEWConfig, build_model
from armoe_jax.models.stacking import unstack_blocks
from armoe_jax.restore import Restorer
from armoe_jax.runtime import errors
from armoe_jax.runtime.errors import UserError
from armoe_jax.runtime.files import write_atomically
from armoe_jax.training import setup
from armoe_jax.training.validation import limit
from input_pipeline import pipeline

PLAIN_LAYERS, PLAIN_WIDTH, PLAIN_RATE = 8, 32, 3e-4
CALIBRATION_STEPS = 20
RELEASED = "configs/car_small.py:jpeg"
SHARED_TRAINING = (
    "seed", "batch_size", "accumulation_steps", "loss", "loss_colors", "ema_decay"
)  # fmt: skip
"""What the arm "released" takes from the compared configuration, besides data and warm-up."""


class Sample(NamedTuple):
    """What one image is evaluated with."""

    lq: np.ndarray
    gt: np.ndarray
    coding: JpegCoding | None = None
    qp: float | None = None


Restore = Callable[[Sample], np.ndarray]


class Trained(NamedTuple):
    """A trained network; `silenced` is it without what its experts add, if it has any."""

    restore: Restore
    parameters: int
    silenced: Restore | None = None


def main(argv: list[str] | None = None) -> int:
    """Trains and evaluates the networks one after the other, and prints a table."""
    args = _parse(argv)
    flags.FLAGS.mark_as_parsed()  # the data pipeline's workers read them
    logging.set_verbosity(logging.WARNING)
    config = configs.load(args.config, args.set)
    config.sharding.num_devices = 1
    if args.gt:
        config.data.gt = args.gt
    if args.init:
        _continue(config, args.init)
    names = args.arms or arms(config)
    if unknown := sorted(name for name in set(names) if not _is_arm(name, config)):
        raise UserError(f"unknown arms {unknown}; of this network there are {arms(config)}")
    samples = {name: _samples(args, name) for name in args.codings}
    budget = {"seconds": args.seconds} if args.steps is None else {"steps": args.steps}
    protocol = {"config": args.config, "set": args.set, **budget, "crop": args.crop}
    if args.init:
        protocol["init"] = args.init
    rows = _known(args.json, protocol)
    for seed in range(args.seeds):
        for name in names:
            if any(row["arm"] == name and row["seed"] == seed for row in rows):
                continue
            row, trained = train(name, config, seed, args.seconds, args.steps)
            row["gains"] = _gains(trained.restore, samples)
            if trained.silenced is not None:
                row["silenced"] = _gains(trained.silenced, samples)
            rows.append(row)
            sys.stderr.write(f"{json.dumps(row)}\n")
            if args.json:
                write_atomically(args.json, json.dumps(protocol | {"rows": rows}, indent=1) + "\n")
    sys.stdout.write(table(rows))
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compares experts and routings.")
    parser.add_argument("--config", default="configs/armoe_w.py:jpeg", help="FILE or FILE:ARGUMENT")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--arms", nargs="+", help="default: all")
    parser.add_argument("--init", metavar="WEIGHTS", help="continue from them")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--seconds", type=float, help="CPU seconds of each training")
    budget.add_argument("--steps", type=int, help="steps of each training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--gt", help="folder of originals to train on (JPEG)")
    parser.add_argument("--eval", required=True, help="folder of originals to evaluate on")
    parser.add_argument("--codings", nargs="+", default=["10", "40"], help="qualities, or folders")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--crop", type=int, default=256, help="side of the crops, in pixels")
    parser.add_argument("--json", type=Path, help="file for the results")
    return parser.parse_args(argv)


def arms(config: Any) -> list[str]:
    """Returns the names of what can be compared."""
    if config.model.mixture == "windowed":
        return ["plain", "none", *FRAMES, "dense", "image", "window", "more", "released"]
    return ["plain", "none", *config.model.experts, "all"]


def _is_arm(name: str, config: Any) -> bool:
    parts = name.split("+")
    together = config.model.mixture == "windowed" and set(parts) <= set(FRAMES)
    return name in arms(config) or (together and len(set(parts)) == len(parts))


def _continue(config: Any, weights: str) -> None:
    """Has a configuration start from trained weights, and be of their architecture."""
    for name, value in load_weights(weights).config.to_dict().items():
        if name not in ("experts", "expert_dim", "share_mixings", "adapt_experts"):
            config.model[name] = tuple(value) if isinstance(value, list) else value
    config.train.init_from, config.train.init_partial = weights, True


def of_arm(name: str, config: Any) -> Any:
    """Returns the configuration of one arm."""
    config = config.copy_and_resolve_references()
    if name == "released":
        released = configs.load(RELEASED)
        released.data, released.sharding.num_devices = config.data, 1
        for name in SHARED_TRAINING:
            released.train[name] = config.train[name]
        released.optim.warmup_steps = config.optim.warmup_steps
        return released
    if name == "none":
        config.model.experts = ()
    elif name == "more":
        config.model.experts, config.model.depth = (), config.model.depth + 1
    elif set(name.split("+")) <= set(FRAMES):
        config.model.experts = tuple(name.split("+"))
    elif name in ("dense", "image", "window"):
        config.model.experts = tuple(FRAMES)
        config.model.route = "image" if name == "image" else "window"
        config.model.dispatch = "dense" if name == "dense" else "capacity"
    return config


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns a row an arm: parameters, steps, and mean gain and standard error by coding.

    And below, for each arm but "none", the same of its difference to "none" with the same seed, and
    of the gain with silenced experts where it was measured.
    """
    lines, differences, quieter = [], [], []
    none = {row["seed"]: row["gains"] for row in rows if row["arm"] == "none"}
    codings = list(rows[0]["gains"]) if rows else []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        of_arm = [row for row in rows if row["arm"] == arm]
        cells = [
            f"{_label(coding)}: {with_error([row['gains'][coding] for row in of_arm])}"
            for coding in codings
        ]
        steps = statistics.fmean(row["steps"] for row in of_arm)
        network = f"{arm:9} {of_arm[0]['parameters']:9,} parameters {steps:7.0f} steps"
        lines.append("  ".join([network, *cells]))
        pairs = [(row["gains"], none[row["seed"]]) for row in of_arm if row["seed"] in none]
        if pairs and arm != "none":
            less = {
                coding: [gains[coding] - of[coding] for gains, of in pairs] for coding in codings
            }
            cells = [f"{_label(coding)}: {with_error(values)}" for coding, values in less.items()]
            differences.append("  ".join([f"{arm:9} less none, {len(pairs)} seeds", *cells]))
        if quiet := [row["silenced"] for row in of_arm if "silenced" in row]:
            cells = [
                f"{_label(coding)}: {with_error([gains[coding] for gains in quiet])}"
                for coding in codings
            ]
            quieter.append("  ".join([f"{arm:9} silenced, {len(quiet)} seeds", *cells]))
    return "\n".join([*lines, *differences, *quieter, ""])


def with_error(gains: Sequence[float]) -> str:
    """Returns the mean and its standard error; of one number there is none."""
    mean = statistics.fmean(gains)
    if len(gains) < 2:
        return f"{mean:+.3f}"
    return f"{mean:+.3f} ± {statistics.stdev(gains) / len(gains) ** 0.5:.3f}"


def _label(coding: str) -> str:
    path = Path(coding)
    return coding if coding.isdigit() else path.parent.name if path.name == "lq" else path.name


def _known(path: Path | None, protocol: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the rows of an earlier call with the same protocol."""
    if path is None or not path.exists():
        return []
    record = json.loads(path.read_text("utf-8"))
    rows = record.pop("rows")
    if record != dict(protocol):
        raise UserError(f"{path} holds results of another protocol, {record}; give another file")
    return rows


def _samples(args: argparse.Namespace, name: str) -> list[Sample]:
    """Returns the centres of the evaluation images; those for JPEG are coded here, on the grid."""
    data = pipeline.default_config() | {"source": "folder", "gt": args.eval, "eval_gt": args.eval}
    data |= {"eval_lq": args.eval if name.isdigit() else name}
    told = re.search(r"qp(\d+)", name)
    qp = float(told[1]) if told else None
    samples = []
    for pair in limit(pipeline.eval_pairs(data), args.images):
        lq, gt, coding = _centre(pair.lq, args.crop), _centre(pair.gt, args.crop), None
        if name.isdigit():
            lq, coding = encode_jpeg(gt, quality=int(name))
        samples.append(Sample(lq, gt, coding, qp))
    return samples


def _centre(image: np.ndarray, side: int) -> np.ndarray:
    top, left = ((n - min(n, side)) // 2 for n in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def _gains(restore: Restore, samples: Mapping[str, Sequence[Sample]]) -> dict[str, float]:
    return {coding: _gain(restore, those) for coding, those in samples.items()}


def _gain(restore: Restore, samples: Sequence[Sample]) -> float:
    return statistics.fmean(psnr(restore(s), s.gt) - psnr(s.lq, s.gt) for s in samples)


def train(
    name: str, config: Any, seed: int, seconds: float | None, steps: int | None
) -> tuple[dict[str, Any], Trained]:
    """Trains a number of steps, or as many as fit the budget as a first few take.

    Args:
        name: Of an arm.
        config: Configuration that the arms are made from; not changed.
        seed: Of weights, data and noise.
        seconds: CPU seconds; not looked at where `steps` is given.
        steps: Number of steps.

    Returns:
        What was trained, for the results, and the trained network.
    """
    config = config.copy_and_resolve_references()
    config.train.seed = seed
    config = of_arm(name, config)
    make = _plain if name == "plain" else _armoe
    if steps is None:
        steps = max(int((seconds or 0) / _seconds_of_step(make(config)[0], config)), 1)
    config.train.num_steps = steps
    step, finish = make(config)
    start = time.process_time()
    with setup.open_data(setup.prepare(config)) as batches:
        for batch in batches:
            step(batch)
    spent = time.process_time() - start
    trained = finish()
    row = {"arm": name, "seed": seed, "parameters": trained.parameters}
    row |= {"steps": config.train.num_steps, "cpu_seconds": round(spent, 1)}
    return row, trained


def _seconds_of_step(step: Callable[[Any], None], config: Any) -> float:
    with setup.open_data(setup.prepare(config), num_steps=CALIBRATION_STEPS + 1) as loader:
        batches = iter(loader)
        step(next(batches))
        start = time.process_time()
        for batch in batches:
            step(batch)
        return (time.process_time() - start) / CALIBRATION_STEPS


def _armoe(config: Any) -> tuple[Callable[[Any], None], Callable[[], Trained]]:
    """Returns a function that trains on a batch, and one that returns the result."""
    parts = setup.prepare(config)
    program = setup.compile_step(parts)
    variables = setup.first_variables(parts)
    if config.train.init_from:
        variables = silent_additions(variables, load_weights(config.train.init_from).variables)
    state = setup.state_from(parts, variables)

    def step(batch: Any) -> None:
        nonlocal state
        state, info = program(state, setup.place_batch(parts, batch))
        jax.block_until_ready(info.loss)

    def finish() -> Trained:
        count = sum(x.size for x in jax.tree.leaves(state.params))
        model = parts.model
        variables = unstack_blocks(jax.device_get(state.best_variables))
        if not isinstance(model.config, ARMoEWConfig) or not model.config.experts:
            return Trained(_sparsely(model, variables), count)
        make = _densely if config.model.dispatch == "dense" else _sparsely
        without = silenced(model.config, variables)
        return Trained(make(model, variables), count, make(model, without))

    return step, finish


def silent_additions(variables: Mapping[str, Any], trained: Mapping[str, Any]) -> dict[str, Any]:
    """Returns variables in which what the trained network has not puts out 0.

    The last product of an expert and of a residual pair starts at 0: nothing else, or no gradient
    would arrive.

    Args:
        variables: Of the larger network, an array a block.
        trained: Of the smaller one.
    """
    known = traverse_util.flatten_dict(dict(trained), sep="/")
    flat: dict[str, Any] = traverse_util.flatten_dict(dict(variables), sep="/")
    last = ("mix_out", "conv1/kernel")
    for name, value in flat.items():
        if name not in known and name.endswith(last):
            flat[name] = np.zeros_like(value)
    return traverse_util.unflatten_dict(flat, sep="/")


def _sparsely(model: Any, variables: Any) -> Restore:
    """Returns the network as users run it, told what is known of a sample's coding."""
    restorers: dict[float | None, Restorer] = {}

    def restore(sample: Sample) -> np.ndarray:
        qp = sample.qp if model.config.quality_range else None
        if qp not in restorers:
            restorers[qp] = Restorer(model.config, variables, coding_quality=qp)
        return restorers[qp](sample.lq, coding=sample.coding)

    return restore


def _densely(model: Any, variables: Any) -> Restore:
    """Returns the network with all experts on every window, as it was trained."""
    layers, experts = model.config.num_layers, len(model.config.experts)
    variables = jax.tree.map(jnp.asarray, variables)

    @jax.jit
    def run(x: jax.Array, **told: jax.Array) -> jax.Array:
        noise = jnp.zeros((layers, x.shape[0], experts))
        return model.apply(variables, x, train=True, gate_noise=noise, **told)

    def restore(sample: Sample) -> np.ndarray:
        told = {}
        if model.config.interval_head and sample.coding is not None:
            told["steps"] = sample.coding.luma_table.reshape(1, 64).astype(np.float32)
        if model.config.quality_range and sample.qp is not None:
            told["quality"] = np.array([sample.qp], np.float32)
        return _to_image(run(sample.lq[None].astype(np.float32) / 255.0, **told)[0])

    return restore


def _plain(config: Any) -> tuple[Callable[[Any], None], Callable[[], Trained]]:
    """Likewise, for convolutions with rectifiers whose output is added to the input."""
    model = build_model(config.model.to_dict())
    loss_fn = setup.make_step_options(config, model).loss
    widths = [3, *[PLAIN_WIDTH] * (PLAIN_LAYERS - 1), 3]
    draws = jax.random.split(jax.random.key(config.train.seed), PLAIN_LAYERS)
    he = jax.nn.initializers.he_normal()
    params = [
        {"kernel": he(key, (3, 3, a, b), jnp.float32), "bias": jnp.zeros(b)}
        for key, a, b in zip(draws, widths[:-1], widths[1:], strict=True)
    ]
    params[-1] = jax.tree.map(jnp.zeros_like, params[-1])
    rate = optax.cosine_decay_schedule(PLAIN_RATE, config.train.num_steps)
    adam = optax.adam(rate, b1=0.9, b2=0.99)
    state = (params, adam.init(params))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        y = x
        for i, layer in enumerate(params):
            y = jax.lax.conv_general_dilated(
                y, layer["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            y = y + layer["bias"].reshape(1, 1, 1, -1)
            y = y if i == PLAIN_LAYERS - 1 else jax.nn.relu(y)
        return x + y

    @jax.jit
    def program(state: Any, lq: jax.Array, gt: jax.Array) -> Any:
        params, moments = state
        grads = jax.grad(lambda p: loss_fn(apply(p, lq), gt))(params)
        updates, moments = adam.update(grads, moments)
        return optax.apply_updates(params, updates), moments

    def step(batch: Any) -> None:
        nonlocal state
        state = jax.block_until_ready(program(state, batch["lq"], batch["gt"]))

    def finish() -> Trained:
        run = jax.jit(apply)

        def restore(sample: Sample) -> np.ndarray:
            return _to_image(run(state[0], sample.lq[None].astype(np.float32) / 255.0)[0])

        return Trained(restore, sum(x.size for x in jax.tree.leaves(state[0])))

    return step, finish


def _to_image(y: jax.Array) -> np.ndarray:
    return np.clip(np.rint(np.asarray(y) * 255.0), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(errors.run(main, "compare_experts.py"))
