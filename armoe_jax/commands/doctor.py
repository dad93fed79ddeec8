"""`armoe-jax doctor`: what a bug report has to tell of an installation."""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from armoe_jax.runtime.errors import kind_and_line

HELP = "Print versions, devices, ffmpeg's encoders, weights and cache folders, for bug reports."

PACKAGES = (
    "jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu", "flax",
    "orbax-checkpoint", "grain", "numpy", "scipy", "scikit-image", "pillow", "pyvips", "av",
    "imageio-ffmpeg", "tensorflow-datasets",
)  # fmt: skip

Row = tuple[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds no arguments: there is nothing to choose."""
    del parser


def run(args: argparse.Namespace) -> int:
    """Prints all sections; a section that cannot be told says why, and the status is 1."""
    del args
    failed = False
    for title, section in SECTIONS.items():
        sys.stdout.write(f"{title}\n")
        try:
            for name, text in section():
                sys.stdout.write(f"  {name:<21}{text}\n")
        except Exception as error:  # a broken installation is what this command is for
            failed = True
            sys.stdout.write(f"  FAILED: {kind_and_line(error)}\n")
        sys.stdout.flush()
    return int(failed)


def versions() -> Iterator[Row]:
    """Yields this package, Python, the machine, and the versions of what is installed."""
    yield "armoe-jax", f"{metadata.version('armoe-jax')} in {Path(__file__).parents[1]}"
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "system", f"{platform.platform()}, {os.cpu_count()} processors"
    for name in PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            if not name.startswith(("jax-cuda", "libtpu")):
                yield name, "MISSING"


def devices() -> Iterator[Row]:
    """Yields what JAX computes on; tells of an NVIDIA GPU that it does not use."""
    import jax

    yield "backend", jax.default_backend()
    for device in jax.devices():
        limit = (device.memory_stats() or {}).get("bytes_limit")
        memory = f", {limit / 2**30:.1f} GiB for JAX" if limit else ""
        yield str(device.id), f"{device.device_kind}{memory}"
    for name in ("JAX_PLATFORMS", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES", "CUDA_VISIBLE_DEVICES"):
        if name in os.environ:
            yield name, os.environ[name]
    if jax.default_backend() == "cpu" and list(Path("/dev").glob("nvidia[0-9]*")):
        yield "NVIDIA GPU", "present, but not used: pip install 'armoe-jax[gpu]' (see README)"


def ffmpeg() -> Iterator[Row]:
    """Yields the program that codes images, and for each codec whether it has the encoder."""
    from input_pipeline.codecs import CODECS
    from input_pipeline.codecs import ffmpeg as program

    yield "program", program.executable()
    yield "version", program.version()
    for name, codec in CODECS.items():
        encoder = getattr(codec, "encoder", "")
        if encoder:
            try:
                program.require_encoder(encoder)
                yield name, encoder
            except FileNotFoundError:
                yield name, f"{encoder} is MISSING: build-dataset and training cannot use it"


def weights() -> Iterator[Row]:
    """Yields the weights that come with the package, each after it was read."""
    from armoe_jax.checkpoints.shipped import shipped_names
    from armoe_jax.checkpoints.weights import load_weights

    for name in shipped_names():
        yield name, f"{load_weights(name).num_parameters:,} parameters"
    if not shipped_names():
        yield "none", "MISSING: give --checkpoint to restore"


def caches() -> Iterator[Row]:
    """Yields the folders that are written to without being named on a command line."""
    from armoe_jax.runtime import compilation_cache
    from armoe_jax.runtime.files import user_cache_folder

    folder = compilation_cache.enable()
    yield "programs", _folder(folder) if folder else "off: every process compiles anew"
    yield "all caches", _folder(user_cache_folder())


def _folder(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder} (not there yet)"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    writable = "" if os.access(folder, os.W_OK) else ", NOT WRITABLE"
    return f"{folder}, {size / 2**20:.0f} MiB{writable}"


SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {
    "versions": versions,
    "devices": devices,
    "ffmpeg": ffmpeg,
    "weights": weights,
    "caches": caches,
}
"""Title -> what yields its lines."""
