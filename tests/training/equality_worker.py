"""Trains in some settings, in float64 and float32, and writes what came out to files.

Run as a program by test_equality.py, one process (or two) for several settings:
    python equality_worker.py JSON
with JSON an object of: networks (by name, {config, overrides}), setups (a list of {network, name,
devices, fsdp, types}), local_devices, num_steps, out (a folder, gets NETWORK/TYPE/NAME.npz with
losses, Adam's first moments after one step, parameters and averages), and for several processes
coordinator, num_processes, process_id.
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
    from armoe_jax.training import distributed

    if job["num_processes"] > 1:
        names = ("coordinator_address", "num_processes", "process_id")
        # A machine under load may stall a process.
        settings = {"enabled": True, "heartbeat_timeout": 1000} | {
            name: job[name] for name in names
        }
        distributed.initialize(settings)
    for setup in job["setups"]:
        for kind in setup["types"]:
            jax.config.update("jax_enable_x64", kind == "float64")
            config = configure(**job["networks"][setup["network"]])
            config.model.dtype = kind
            config.sharding.num_devices = setup["devices"]
            config.sharding.fsdp = setup["fsdp"]
            result = run(config, job["num_steps"])
            folder = Path(job["out"]) / setup["network"] / kind
            folder.mkdir(parents=True, exist_ok=True)
            if jax.process_index() == 0:
                np.savez(folder / f"{setup['name']}.npz", **result)


def configure(config: str, overrides: dict[str, Any]) -> Any:
    import configs

    values = {k: tuple(v) if isinstance(v, list) else v for k, v in overrides.items()}
    return configs.load(config, values)


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
    result |= flat("ema", sharding.gather_on_host(state.ema, mesh))
    split = [x for x in jax.tree.leaves(state.params) if not x.sharding.is_fully_replicated]
    result["num_split"] = np.asarray(len(split))
    assert jnp.result_type(float) == result["losses"].dtype
    return result


def flat(prefix: str, tree: Any) -> dict[str, np.ndarray]:
    leaves = traverse_util.flatten_dict(tree, sep="/")
    return {f"{prefix}/{name}": np.asarray(value) for name, value in leaves.items()}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
