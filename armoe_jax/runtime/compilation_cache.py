"""Compiled programs kept on disk, so that a second process starts faster."""

import os
from pathlib import Path

import jax
from absl import logging

from armoe_jax.runtime.files import user_cache_folder

VARIABLE = "ARMOE_JAX_CACHE"
"""Environment variable: a folder, or "off"."""

OFF = "off"


def enable(choice: str | None = None) -> Path | None:
    """Switches JAX's persistent compilation cache on.

    Call it before anything is compiled. A folder that cannot be made is no error: programs are
    then compiled anew in every process.

    Args:
        choice: A folder, or "off"; by default the environment's ARMOE_JAX_CACHE, else
            `armoe-jax/programs` in the user's cache folder. A cache that JAX itself has been told
            to use (JAX_COMPILATION_CACHE_DIR) stays.

    Returns:
        The folder in use; None if there is none.
    """
    choice = choice or os.environ.get(VARIABLE)
    if choice == OFF:
        return None
    chosen_before = getattr(jax.config, "jax_compilation_cache_dir", None)
    if choice is None and chosen_before:
        return Path(chosen_before)
    folder = Path(choice) if choice else user_cache_folder() / "programs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logging.warning("compiled programs are not kept: %s", error)
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder
