r"""Trains small networks at an equal budget and compares what they gain.

python scripts/maintain/compare_small.py --config configs/car_small.py:vvc --seconds 300 \
    --networks plain none dct fft haar swt all --set data.root=DATA \
    --gt KODAK/vvc/qp37/gt --evaluate KODAK/vvc/qp22/lq KODAK/vvc/qp37/lq --json compared.json
python scripts/maintain/compare_small.py --config configs/car_small.py:jpeg --seconds 300 \
    --set data.gt=DATA/vvc/qp17/gt --gt KODAK/vvc/qp37/gt --evaluate 10 40

"plain" is a network of eight 3x3 convolutions; "none" the configured network without experts; the
name of an expert, with that one alone; "all", as configured. The budget is CPU seconds of training
(on one core: taskset -c 0), compiling and evaluating not counted; all see the same batches. Gains
are means over central crops of the images, in dB PSNR-Y.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags, logging

import configs
from armoe_jax.metrics import psnr
from armoe_jax.models import build_model
from armoe_jax.restore import Restorer
from armoe_jax.runtime.files import write_atomically
from armoe_jax.training import setup
from armoe_jax.training.validation import limit
from input_pipeline import pipeline

PLAIN_LAYERS, PLAIN_WIDTH, PLAIN_RATE = 8, 32, 3e-4
CALIBRATION_STEPS = 20

Restore = Callable[[np.ndarray], np.ndarray]
Pairs = list[tuple[np.ndarray, np.ndarray]]


def main(argv: list[str] | None = None) -> int:
    """Trains and evaluates the networks one after the other, and prints a table."""
    parser = argparse.ArgumentParser(description="Compares small networks at an equal budget.")
    parser.add_argument("--config", required=True, help="FILE or FILE:ARGUMENT")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--networks", nargs="+", default=["plain", "all"])
    parser.add_argument("--seconds", type=float, required=True, help="CPU seconds for each")
    parser.add_argument("--gt", required=True, help="originals to evaluate on")
    parser.add_argument("--evaluate", nargs="+", required=True, help="folders, or JPEG qualities")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--crop", type=int, default=384, help="side of the crops, in pixels")
    parser.add_argument("--json", type=Path, help="file for the results")
    args = parser.parse_args(argv)
    flags.FLAGS.mark_as_parsed()  # the data pipeline's workers read them
    logging.set_verbosity(logging.WARNING)
    config = configs.load(args.config, args.set)
    config.sharding.num_devices = 1
    sets = {name: _pairs(config, args, name) for name in args.evaluate}
    rows = []
    for name in args.networks:
        row, restore = _train(name, config.copy_and_resolve_references(), args.seconds)
        row["gains"] = {key: _gain(restore, pairs) for key, pairs in sets.items()}
        rows.append(row)
        gains = "  ".join(
            f"{Path(key).parent.name or key}: {gain:+.3f}" for key, gain in row["gains"].items()
        )
        sys.stdout.write(
            f"{name:6} {row['parameters']:7,} parameters  {row['steps']:6} steps  "
            f"{row['images_per_second']:6.1f} images/s  {gains}\n"
        )
        sys.stdout.flush()
        if args.json:
            facts = {"seconds": args.seconds, "config": args.config, "set": args.set}
            write_atomically(args.json, json.dumps(facts | {"networks": rows}, indent=1) + "\n")
    return 0


def _pairs(config: Any, args: argparse.Namespace, name: str) -> Pairs:
    """Returns (input, original), cut to the centre."""
    data = config.data.to_dict() | {"eval_gt": args.gt, "eval_lq": ""}
    data |= {"eval_jpeg_quality": int(name)} if name.isdigit() else {"eval_lq": name}
    pairs = limit(pipeline.eval_pairs(data), args.images)
    return [(_centre(pair.lq, args.crop), _centre(pair.gt, args.crop)) for pair in pairs]


def _centre(image: np.ndarray, side: int) -> np.ndarray:
    top, left = ((n - min(n, side)) // 2 for n in image.shape[:2])
    return image[top : top + side, left : left + side]


def _gain(restore: Restore, pairs: Pairs) -> float:
    gains = [psnr(restore(lq), gt) - psnr(lq, gt) for lq, gt in pairs]
    return float(np.mean(gains))


def _train(name: str, config: Any, seconds: float) -> tuple[dict[str, Any], Restore]:
    """Trains as many steps as fit the budget; the cosine's length is set by a first few."""
    if name not in ("all", "plain"):
        config.model.experts = () if name == "none" else (name,)
    make = _plain if name == "plain" else _armoe
    step, _ = make(config)
    batches = iter(setup.open_data(setup.prepare(config), num_steps=10**9))
    step(next(batches))
    start = time.process_time()
    for _ in range(CALIBRATION_STEPS):
        step(next(batches))
    each = (time.process_time() - start) / CALIBRATION_STEPS
    config.train.num_steps = max(int(seconds / each), 1)
    step, finish = make(config)
    batches = iter(setup.open_data(setup.prepare(config), num_steps=10**9))
    start = time.process_time()
    for _ in range(config.train.num_steps):
        step(next(batches))
    restore, parameters = finish()
    spent = time.process_time() - start
    speed = config.train.num_steps * config.train.batch_size / spent
    row = {"network": name, "parameters": parameters, "steps": config.train.num_steps}
    return row | {"images_per_second": speed, "cpu_seconds": spent}, restore


def _armoe(config: Any) -> tuple[Callable[[Any], None], Callable[[], Any]]:
    """Returns a function that trains on a batch, and one that returns the result."""
    parts = setup.prepare(config)
    program = setup.compile_step(parts)
    state = setup.fresh_state(parts)

    def step(batch: Any) -> None:
        nonlocal state
        state, info = program(state, setup.place_batch(parts, batch))
        jax.block_until_ready(info.loss)

    def finish() -> tuple[Restore, int]:
        count = sum(x.size for x in jax.tree.leaves(state.params))
        return Restorer(parts.model.config, jax.device_get(state.best_variables)), count

    return step, finish


def _plain(config: Any) -> tuple[Callable[[Any], None], Callable[[], Any]]:
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

    def finish() -> tuple[Restore, int]:
        run = jax.jit(apply)

        def restore(image: np.ndarray) -> np.ndarray:
            y = run(state[0], image[None].astype(np.float32) / 255.0)[0]
            return np.clip(np.rint(np.asarray(y) * 255.0), 0, 255).astype(np.uint8)

        return restore, sum(x.size for x in jax.tree.leaves(state[0]))

    return step, finish


if __name__ == "__main__":
    sys.exit(main())
