r"""Weights that come with the package: writes them from a training run, and checks them.

python scripts/maintain/ship_weights.py write WORKDIR NAME --config configs/armoe_w.py:vvc \
    --place DATA=DIR
python scripts/maintain/ship_weights.py card NAME results/*.json
python scripts/maintain/ship_weights.py repeat NAME --place DATA=DIR

`write` makes NAME.safetensors (moving averages), NAME.json (facts, with the losses of the first
steps, which it repeats) and NAME.md (the model card); with --beyond the run's weights are those for
mild coding alone, joined with others as by join_specialists.py. `card` puts evaluations into the
latter two; `repeat` trains the first steps anew and compares their losses. Folders of this machine
are named by --place and appear under these names only.
"""

import argparse
import dataclasses
import json
import math
import shlex
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree
from typing import Any

from absl import flags, logging
from join_specialists import join, load_member
from ml_collections import ConfigDict
from model_card import render
from replay import first_losses
from training_record import (
    check_first_losses,
    masked,
    starts_of,
    summarize_evaluation,
    training_facts,
    unmasked,
)

import configs
from armoe_jax.checkpoints import shipped
from armoe_jax.checkpoints.weights import LoadedModel, load_weights, save_weights
from armoe_jax.checkpoints.workdir import FOLDER as CHECKPOINTS
from armoe_jax.runtime import errors
from armoe_jax.runtime.errors import UserError
from armoe_jax.runtime.files import sha256_of, write_atomically

LARGEST_TOTAL = 4_000_000  # bytes of all weights together
LARGEST_MODEL = 500_000  # parameters


def main(argv: list[str] | None = None) -> int:
    """Runs a sub-command; returns 0, 1 if repeated losses differ, or 2 on bad input."""
    parser = argparse.ArgumentParser(description="Writes and checks weights of the package.")
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("write", help="make NAME.safetensors, .json and .md from a run")
    write.add_argument("workdir", type=Path)
    write.add_argument("name")
    write.add_argument("--config", required=True, help="for the command that is published")
    write.add_argument("--step", type=int, help="of the checkpoint (default: the newest)")
    write.add_argument("--first-steps", type=int, default=100)
    write.add_argument("--beyond", nargs="+", default=[], metavar="MEMBER", help="sets to join")
    write.add_argument("--bounds", nargs="+", type=float, default=[], metavar="QUALITY")
    write.add_argument("--note", default="", help="a sentence for the card's recipe")
    card = commands.add_parser("card", help="put evaluations into NAME.json and NAME.md")
    card.add_argument("name")
    card.add_argument("evaluations", nargs="+", type=Path)
    repeat = commands.add_parser("repeat", help="train the first steps again, compare the losses")
    repeat.add_argument("name")
    repeat.add_argument("--tolerance", type=float, default=1e-3, help="relative")
    for command in (write, repeat):
        command.add_argument("--place", action="append", default=[], metavar="NAME=PATH")
    args = parser.parse_args(argv)
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # the data pipeline's workers read them
    logging.set_verbosity(logging.WARNING)
    command = {"write": _write, "card": _card, "repeat": _repeat}[args.command]
    return errors.run(lambda: command(args), "ship_weights.py")


def _write(args: argparse.Namespace) -> int:
    places = _places(args.place)
    start = starts_of(args.workdir)[-1]
    plain = json.loads((args.workdir / "config.json").read_text())
    plain["data"]["cache_dir"] = ""  # where it lies changes nothing
    step = args.step or max(_steps(args.workdir))
    record: dict[str, Any] = {
        "name": args.name,
        "step": step,
        "places": sorted(places),
        "note": args.note,
        "config": masked(plain, places),
        "training": training_facts(args.workdir, step),
        "git_revision": start["git_revision"],
        "packages": start["packages"],
        "device": f"{len(start['devices'])} {start['device_kind']} device",
    }
    record["command"] = _command(args.name, args.config, record["config"])
    config = _config(record["config"], places)
    record["first_losses"] = first_losses(config, args.first_steps)
    check_first_losses(args.workdir, record["first_losses"])
    members = [_load_step(args.workdir, step), *map(load_member, args.beyond)]
    model = join(members, args.bounds) if args.beyond else members[0]
    if model.num_parameters > LARGEST_MODEL:
        raise UserError(f"{model.num_parameters:,} parameters; at most {LARGEST_MODEL:,} are meant")
    facts = {key: record[key] for key in ("name", "step", "command", "git_revision")}
    weights = shipped.WEIGHTS_FOLDER / f"{args.name}.safetensors"
    save_weights(weights, dataclasses.replace(model, provenance=facts), overwrite=True)
    record["num_parameters"] = model.num_parameters
    record["num_bytes"] = weights.stat().st_size
    record["sha256"] = sha256_of(weights)
    _save(record)
    total = sum(path.stat().st_size for path in weights.parent.glob("*.safetensors"))
    if total > LARGEST_TOTAL:
        raise UserError(f"all weights have {total:,} bytes; at most {LARGEST_TOTAL:,} are meant")
    sys.stdout.write(f"{weights}: step {step}, {model.num_parameters:,} parameters\n")
    return 0


def _card(args: argparse.Namespace) -> int:
    record = _record(args.name)
    reports = [json.loads(path.read_text()) for path in args.evaluations]
    rows = [summarize_evaluation(report) for report in reports]
    _save(record | {"results": sorted(rows, key=lambda row: (row["codec"], row["qp"]))})
    return 0


def _repeat(args: argparse.Namespace) -> int:
    record = _record(args.name)
    stored = record["first_losses"]
    places = _places(args.place)
    missing = sorted(set(record["places"]) - set(places))
    if missing:
        raise UserError(f"say where {', '.join(missing)} are: --place {missing[0]}=PATH")
    losses = first_losses(_config(record["config"], places), len(stored))
    pairs = list(zip(losses, stored, strict=True))
    difference = max(abs(a - b) / abs(b) for a, b in pairs)
    same = all(math.isclose(a, b, rel_tol=args.tolerance) for a, b in pairs)
    equal = "bit for bit equal" if losses == stored else "not all equal bit for bit"
    sys.stdout.write(
        f"{args.name}: {len(stored)} losses, {equal}, largest relative difference {difference:.2g}"
        f" ({'within' if same else 'ABOVE'} {args.tolerance:g})\n"
    )
    return 0 if same else 1


def _command(name: str, config_file: str, config: Mapping[str, Any]) -> str:
    """Returns a training command whose configuration is the given one, with places' names."""
    published = _flat(json.loads(json.dumps(configs.load(config_file).to_dict())))
    words = ["python", "-m", "armoe_jax.main", "--config", config_file]
    words += ["--workdir", f"runs/{name}"]
    for field, value in _flat(config).items():
        if published[field] != value:
            shown = tuple(value) if isinstance(value, list) else value
            words.append(f"--config.{field}={shown}")
    return shlex.join(words)


def _config(plain: Mapping[str, Any], places: Mapping[str, str]) -> ConfigDict:
    values = dict(unmasked(plain, places))
    model = ConfigDict(values.pop("model"))  # its fields are those of one of two architectures
    config = configs.load("configs/base.py", _flat(values))
    with config.unlocked():
        config.model = model
    return config


def _flat(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{group}.{name}": v for group, fields in groups.items() for name, v in fields.items()}


def _steps(workdir: Path) -> list[int]:
    steps = [int(p.name) for p in (workdir / CHECKPOINTS).glob("*") if p.name.isdigit()]
    if not steps:
        raise FileNotFoundError(f"no checkpoint in {workdir / CHECKPOINTS}")
    return steps


def _load_step(workdir: Path, step: int) -> LoadedModel:
    """Loads one checkpoint, from a copy: a run in progress may delete it meanwhile."""
    if step not in _steps(workdir):
        raise FileNotFoundError(f"no checkpoint of step {step}; there are {_steps(workdir)}")
    with tempfile.TemporaryDirectory() as folder:
        copytree(workdir / CHECKPOINTS / str(step), Path(folder) / CHECKPOINTS / str(step))
        return load_weights(folder)


def _places(words: list[str]) -> dict[str, str]:
    if not all("=" in word for word in words):
        raise UserError(f"--place {words}: expected NAME=PATH")
    return dict(word.split("=", 1) for word in words)


def _record(name: str) -> dict[str, Any]:
    return json.loads((shipped.WEIGHTS_FOLDER / f"{name}.json").read_text())


def _save(record: Mapping[str, Any]) -> None:
    path = shipped.WEIGHTS_FOLDER / f"{record['name']}.json"
    write_atomically(path, json.dumps(record, indent=1) + "\n")
    write_atomically(path.with_suffix(".md"), render(record))


if __name__ == "__main__":
    sys.exit(main())
