"""Trains in some settings, in float64 and float32, and writes what came out to files.

Run as a program by test_equality.py, one process (or two) for several settings:
    python equality_worker.py JSON
with JSON an object of: setups (a list of {name, devices, fsdp, types}), local_devices, overrides,
num_steps, out (a folder, gets TYPE/NAME.npz with losses, Adam's first moments after one step,
parameters and averages), and for several processes coordinator, num_processes, process_id.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util


def main(job: dict[str, Any]) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", job["local_devices"])
    import configs
    from armoe_jax.training import distributed

    config = configs.load("configs/base.py")
    overrides = {k: tuple(v) if isinstance(v, list) else v for k, v in job["overrides"].items()}
    config.update_from_flattened_dict(overrides)
    if job["num_processes"] > 1:
        config.distributed.enabled = True
        config.distributed.coordinator_address = job["coordinator"]
        config.distributed.num_processes = job["num_processes"]
        config.distributed.process_id = job["process_id"]
        config.distributed.heartbeat_timeout = 1000  # a machine under load may stall a process
        distributed.initialize(config.distributed.to_dict())
    for kind in ("float64", "float32"):
        jax.config.update("jax_enable_x64", kind == "float64")
        config.model.dtype = kind
        folder = Path(job["out"]) / kind
        folder.mkdir(exist_ok=True)
        for setup in (setup for setup in job["setups"] if kind in setup["types"]):
            config.sharding.num_devices = setup["devices"]
            config.sharding.fsdp = setup["fsdp"]
            result = run(config, job["num_steps"])
            if jax.process_index() == 0:
                np.savez(folder / f"{setup['name']}.npz", **result)


def run(config: Any, num_steps: int) -> dict[str, np.ndarray]:
    from armoe_jax.training import setup, sharding

    parts = setup.prepare(config)
    mesh, state, step_fn = parts.mesh, setup.fresh_state(parts), setup.compile_step(parts)
    result: dict[str, np.ndarray] = {}
    losses = []
    with setup.open_data(parts, num_steps=num_steps) as batches:
        for step, batch in enumerate(batches):
            state, info = step_fn(state, setup.place_batch(parts, batch))
            losses.append(np.asarray(info.loss))
            if step == 0:
                # Adam's first moment is 1 - b1 times the first gradient.
                moment = sharding.gather_on_host(state.opt_state[1].mu, mesh)
                result |= flat("grad", moment)
    result["losses"] = np.stack(losses)
    result |= flat("param", sharding.gather_on_host(state.params, mesh))
    result |= flat("ema", sharding.gather_on_host(state.ema["params"], mesh))
    split = [x for x in jax.tree.leaves(state.params) if not x.sharding.is_fully_replicated]
    result["num_split"] = np.asarray(len(split))
    assert jnp.result_type(float) == result["losses"].dtype
    return result


def flat(prefix: str, tree: Any) -> dict[str, np.ndarray]:
    leaves = traverse_util.flatten_dict(tree, sep="/")
    return {f"{prefix}/{name}": np.asarray(value) for name, value in leaves.items()}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
