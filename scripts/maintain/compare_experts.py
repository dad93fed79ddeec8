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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags, logging
from arm_training import Restore, Sample, train
from expert_arms import arms, continue_from, is_arm
from gain_table import table

import configs
from armoe_jax.images.jpeg import encode_jpeg
from armoe_jax.metrics import psnr
from armoe_jax.runtime import errors
from armoe_jax.runtime.errors import UserError
from armoe_jax.runtime.files import write_atomically
from armoe_jax.training.validation import limit
from input_pipeline import pipeline


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
        continue_from(config, args.init)
    names = args.arms or arms(config)
    if unknown := sorted(name for name in set(names) if not is_arm(name, config)):
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


if __name__ == "__main__":
    sys.exit(errors.run(main, "compare_experts.py"))
