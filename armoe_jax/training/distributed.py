"""Several processes, one program: starts JAX's distributed runtime where it is configured."""

import os
from collections.abc import Mapping
from typing import Any

import jax
from absl import logging


def initialize(config: Mapping[str, Any]) -> None:
    """Connects this process with the others if `config` (the `distributed` group) says so.

    Must run before anything touches a device. What is empty or negative in the config is found
    out by JAX from the cluster's environment (Slurm, TPU pods, Open MPI, Kubernetes, or the
    variables JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID).

    Raises:
        ValueError: No coordinator is configured, and the environment does not tell of any.
    """
    if not config["enabled"] or jax.distributed.is_initialized():
        return
    try:
        jax.distributed.initialize(
            coordinator_address=config["coordinator_address"] or None,
            num_processes=_choose(config["num_processes"], "JAX_NUM_PROCESSES"),
            process_id=_choose(config["process_id"], "JAX_PROCESS_ID"),
            heartbeat_timeout_seconds=config["heartbeat_timeout"],
        )
    except ValueError as error:
        raise ValueError(
            f"distributed.enabled is set, but the processes cannot be found ({error}); give "
            "--config.distributed.coordinator_address=HOST:PORT, "
            "--config.distributed.num_processes=N and --config.distributed.process_id=P"
        ) from error
    logging.info("process %d of %d", jax.process_index(), jax.process_count())


def is_helper() -> bool:
    """Returns whether this is one of several processes, and not the one that logs and writes."""
    return jax.distributed.is_initialized() and jax.process_index() > 0


def _choose(configured: int, variable: str) -> int | None:
    """Returns the configured number, else the environment's, else None."""
    if configured >= 0:
        return configured
    value = os.environ.get(variable)
    return int(value) if value else None
