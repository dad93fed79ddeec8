"""Joins weights of one architecture into a network of specialists, each for a range of qualities.

python scripts/maintain/join_specialists.py OUT.safetensors LOW HIGH --bounds 28
python scripts/maintain/join_specialists.py LOW.safetensors JOINED#0

LOW, HIGH, ... are training runs or weights, as many as there are bounds and one more, from mild to
strong coding; the same one may be given twice. JOINED#0, JOINED#1, ... are the sets of weights of
such a network; one alone, without bounds, is taken out to be trained on. The estimator of the
quality is that of the first. A run starts from OUT with --config.train.init_from and the same
--config.model.specialists.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from armoe_jax.checkpoints.folder import LoadedModel
from armoe_jax.checkpoints.weights import load_weights, save_weights
from armoe_jax.models.windowed_config import ARMoEWConfig
from armoe_jax.runtime import errors
from armoe_jax.runtime.errors import UserError

ESTIMATOR = "quality"


def main(argv: list[str] | None = None) -> int:
    """Writes the joined weights; returns 0, or 2 on bad input."""
    parser = argparse.ArgumentParser(description="Joins weights into a network of specialists.")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("members", nargs="+", metavar="MEMBER")
    parser.add_argument("--bounds", nargs="*", type=float, default=[], metavar="QUALITY")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT")
    args = parser.parse_args(argv)

    def run() -> int:
        joined = join([load_member(source) for source in args.members], args.bounds)
        save_weights(args.out, joined, overwrite=args.overwrite)
        sys.stdout.write(f"{args.out}: {joined.num_parameters:,} parameters\n")
        return 0

    return errors.run(run, "join_specialists.py")


def load_member(source: str) -> LoadedModel:
    """Returns the network of a source, or of PATH#N the one that set N of its weights is.

    Raises:
        ValueError: It has no set of that number.
    """
    path, _, number = source.rpartition("#")
    if not (path and number.isdecimal()):
        return load_weights(source)
    loaded = load_weights(path)
    params = loaded.variables["params"]
    name = f"specialist_{number}"
    if name not in params:
        known = [key for key in params if key.startswith("specialist_")]
        raise UserError(f"{source}: {path} has no set {number}, but {len(known)}, counted from 0")
    own = dict(params[name])
    if ESTIMATOR in params:
        own[ESTIMATOR] = params[ESTIMATOR]
    config = dataclasses.replace(loaded.config, specialists=())
    return LoadedModel(config, {"params": own}, loaded.provenance | {"specialist": int(number)})


def join(members: Sequence[LoadedModel], bounds: Sequence[float]) -> LoadedModel:
    """Returns the network whose specialists are the given ones.

    Args:
        members: Networks of one set of weights each, from mild to strong coding.
        bounds: Qualities at which the next one takes over; none with a single member, which is
            returned as it is.

    Raises:
        ValueError: Their number is not that of the bounds and one more, their architectures differ,
            or they have no quality that could choose.
    """
    if len(members) != len(bounds) + 1:
        raise UserError(f"{len(members)} members and {len(bounds)} bounds; one bound less is meant")
    config = members[0].config
    if not isinstance(config, ARMoEWConfig) or config.specialists:
        raise UserError("the first member is no windowed network of one set of weights")
    for number, member in enumerate(members):
        if member.config != config:
            raise UserError(f"member {number} is {member.config}, the first one {config}")
    if not bounds:
        return members[0]
    params = {ESTIMATOR: members[0].variables["params"].get(ESTIMATOR)}
    for number, member in enumerate(members):
        own = {k: v for k, v in member.variables["params"].items() if k != ESTIMATOR}
        params[f"specialist_{number}"] = own
    # First, so that what has no quality is refused in the architecture's own words.
    joined = dataclasses.replace(config, specialists=tuple(bounds))
    sources = [member.provenance for member in members]
    return LoadedModel(joined, {"params": params}, {"specialists": sources})


if __name__ == "__main__":
    sys.exit(main())
