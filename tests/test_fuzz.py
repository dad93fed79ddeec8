"""Damaged files of every kind are read, or refused with a ValueError: nothing else gets out.

Seeded, so that runs are equal; ARMOE_FUZZ_ROUNDS sets the number of damaged files of each kind.
"""

import json
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from safetensors import safe_open
from safetensors.numpy import save_file

from armoe_jax.checkpoints.folder import LoadedModel
from armoe_jax.checkpoints.weights import load_weights, save_weights
from armoe_jax.convert import rules_of, variable_shapes
from armoe_jax.evaluation.report import load_run
from armoe_jax.exported.runner import ExportInfo, load_export, write_export
from armoe_jax.models import AnyConfig, ARMoEConfig, ARMoEWConfig
from input_pipeline.manifest import load_manifest

ROUNDS = int(os.environ.get("ARMOE_FUZZ_ROUNDS", "40"))

# Files of few bytes, so that damage reaches all of them.
CONFIG = ARMoEConfig(embed_dim=4, depth=(1,), num_heads=(2,), mlp_ratio=1.0, split_size=(2, 4))
WINDOWED = ARMoEWConfig(
    embed_dim=4,
    depth=1,
    pairs=1,
    experts=("dct", "haar"),
    expert_dim=2,
    window=2,
    quality_range=(0.0, 8.0),
    interval_head=True,
    grid=8,
)

HOSTILE_VALUES = (
    None, True, -1, 0, 10**9, 2**63, 10**400, 0.5, -0.0, float("nan"), float("inf"), "", "../x",
    "\ud800", "\0", "x" * 5000, [], [[]], [None], {}, {"": {}}, [10**9] * 3, ["dct"],
)  # fmt: skip


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    """Returns data with one to four changes: bits, runs, cuts, copies, or an end too early."""
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(damaged) + 1)
        length = rng.choice((1, 1, 2, 4, 8, 32, 200))
        kind = rng.randrange(6)
        if kind == 0 and at < len(damaged):
            damaged[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            damaged[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            del damaged[at : at + length]
        elif kind == 3:
            source = rng.randrange(len(damaged) + 1)
            damaged[at:at] = damaged[source : source + length]
        elif kind == 4:
            damaged[at : at + length] = rng.choice((b"\0", b"\xff")) * length
        elif rng.random() < 0.2:
            del damaged[at:]
    return bytes(damaged)


def damage_json(text: str, rng: random.Random) -> str:
    """Returns JSON text with one to three values replaced, removed or put elsewhere."""
    value = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        if not (places := list(places_of(value))):
            break
        parent, key = rng.choice(places)
        kind = rng.randrange(4)
        if kind == 0:
            del parent[key]
        elif kind == 1:
            other, other_key = rng.choice(places)
            parent[key] = json.loads(json.dumps(other[other_key]))
        else:
            parent[key] = rng.choice(HOSTILE_VALUES)
    return json.dumps(value)


def places_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yields containers with their keys, at every depth."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places_of(value[key])


def fuzz(read: Callable[[], object], damage: Callable[[random.Random], None], seed: int) -> None:
    """Reads a file in many states of damage, some of which can be read and most of which cannot."""
    rng = random.Random(seed)
    refused = 0
    for number in range(ROUNDS):
        damage(rng)
        try:
            read()
        except ValueError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"round {number} of seed {seed}") from error
    assert refused > ROUNDS // 4


def random_model(config: AnyConfig) -> LoadedModel:
    rng = np.random.default_rng(0)
    shapes = variable_shapes(rules_of(config))
    flat = {path: rng.standard_normal(shape, np.float32) for path, shape in shapes.items()}
    return LoadedModel(config, traverse_util.unflatten_dict(flat, sep="/"))


@pytest.fixture(scope="module", params=[CONFIG, WINDOWED], ids=["released", "windowed"])
def model(request) -> LoadedModel:
    return random_model(request.param)


@pytest.fixture
def torch_file(tmp_path) -> Path:
    save_weights(tmp_path / "x.pth", random_model(CONFIG))
    return tmp_path / "x.pth"


def zip_members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def to_legacy(members: dict[str, bytes]) -> bytes:
    """Returns the same contents in torch.save's older format."""
    storages = {name.split("/")[2]: data for name, data in members.items() if "/data/" in name}
    parts = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001)]
    parts += [pickle.dumps({"little_endian": True}, 2), members["archive/data.pkl"]]
    parts.append(pickle.dumps(list(storages), 2))
    for data in storages.values():
        parts += [struct.pack("<q", len(data) // 4), data]  # counters, of 8 bytes, are not equal
    return b"".join(parts)


def test_torch_files(torch_file):
    data = torch_file.read_bytes()
    fuzz(
        lambda: load_weights(torch_file),
        lambda rng: torch_file.write_bytes(damage_bytes(data, rng)) and None,
        seed=1,
    )


def test_pickles_of_sound_archives(torch_file):
    members = zip_members(torch_file)

    def damage(rng: random.Random) -> None:
        changed = members | {"archive/data.pkl": damage_bytes(members["archive/data.pkl"], rng)}
        with zipfile.ZipFile(torch_file, "w") as archive:
            for name, data in changed.items():
                archive.writestr(name, data)

    fuzz(lambda: load_weights(torch_file), damage, seed=2)


def test_legacy_torch_files(torch_file):
    data = to_legacy(zip_members(torch_file))
    fuzz(
        lambda: load_weights(torch_file),
        lambda rng: torch_file.write_bytes(damage_bytes(data, rng)) and None,
        seed=3,
    )


def test_safetensors(model, tmp_path):
    path = tmp_path / "x.safetensors"
    save_weights(path, model)
    data = path.read_bytes()

    def damage(rng: random.Random) -> None:
        length = int.from_bytes(data[:8], "little")
        if rng.random() < 0.5:
            path.write_bytes(damage_bytes(data, rng))
            return
        header = damage_json(data[8 : 8 + length].decode(), rng).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])

    fuzz(lambda: load_weights(path), damage, seed=4)


def test_metadata_of_safetensors(model, tmp_path):
    path = tmp_path / "x.safetensors"
    save_weights(path, model)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()["armoe_jax"]
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no mapping

    def damage(rng: random.Random) -> None:
        save_file(tensors, path, {"armoe_jax": damage_text(metadata, rng)})

    fuzz(lambda: load_weights(path), damage, seed=5)


def damage_text(text: str, rng: random.Random) -> str:
    """Damages values of JSON, or now and then its text."""
    if rng.random() < 0.8:
        return damage_json(text, rng)
    return damage_bytes(text.encode(), rng).decode(errors="replace")


def test_descriptions_of_model_folders(model, tmp_path):
    save_weights(tmp_path / "m", model)
    path = tmp_path / "m" / "model.json"
    text = path.read_text()
    fuzz(
        lambda: load_weights(tmp_path / "m"),
        lambda rng: path.write_text(damage_text(text, rng)) and None,
        seed=6,
    )


@pytest.fixture
def export(tmp_path) -> Path:
    """An exported program that darkens tiles."""

    def darken(weights, x):
        return x * weights["factor"], jnp.zeros((1, x.shape[0]), jnp.int32)

    shapes = {"factor": jax.ShapeDtypeStruct((), jnp.float32)}, jnp.zeros((1, 16, 16, 3))
    program = jax.export.export(jax.jit(darken), platforms=["cpu"])(*shapes)
    info = ExportInfo(
        tile=16,
        channels=3,
        scale=1,
        batch=1,
        dtype="float32",
        platforms=("cpu",),
        expert_names=("dct",),
        config=WINDOWED.to_dict(),
        provenance={"source": "x"},
    )
    write_export(
        tmp_path / "x.armoe", info, bytes(program.serialize()), {"factor": np.float32(0.5)}
    )
    return tmp_path / "x.armoe"


def test_exports(export):
    data, members = export.read_bytes(), zip_members(export)
    description = members["export.json"].decode()

    def damage(rng: random.Random) -> None:
        if rng.random() < 0.5:
            export.write_bytes(damage_bytes(data, rng))
            return
        changed = members | {"export.json": damage_text(description, rng).encode()}
        with zipfile.ZipFile(export, "w") as archive:
            for name, content in changed.items():
                archive.writestr(name, content)

    fuzz(lambda: load_export(export), damage, seed=9)


MANIFEST = {
    "format": 1,
    "codec": "jpeg",
    "version": "libjpeg-turbo",
    "settings": {"subsampling": "4:2:0"},
    "colors": "clean",
    "qp": 40,
    "halved_sources": "none",
    "images": [
        {
            "name": name,
            "qp": 40,
            "width": 48,
            "height": 32,
            "bits": 1536,
            "bpp": 1.0,
            "psnr_y": 30.0,
            "ssim_y": 0.9,
            "checksums": {"source": "00", "gt": "11", "lq": "22", "bitstream": "33"},
        }
        for name in ("a", "b")
    ],
}


def test_manifests(tmp_path):
    path = tmp_path / "manifest.json"
    text = json.dumps(MANIFEST)
    fuzz(
        lambda: load_manifest(tmp_path),
        lambda rng: path.write_text(damage_text(text, rng)) and None,
        seed=7,
    )


def test_evaluations(tmp_path):
    images = [
        {"name": name, "psnr_y": 31.0, "lq_psnr_y": 30.0, "bpp": 0.5, "expert": [0, 1]}
        for name in ("a", "b")
    ]
    record = {"images": images, "expert_names": ["dct", "fft"], "codec": "vvc", "qp": 27}
    record |= {"label": "x", "lq_dir": "lq", "published": {"psnr_y": 31.5}, "psnr_y": 31.0}
    (tmp_path / "lq").mkdir()
    texts = {"evaluation.json": json.dumps(record), "manifest.json": json.dumps(MANIFEST)}

    def damage(rng: random.Random) -> None:
        damaged = rng.choice(list(texts))
        for name, text in texts.items():
            (tmp_path / name).write_text(damage_text(text, rng) if name == damaged else text)

    fuzz(lambda: load_run(tmp_path), damage, seed=8)
