"""Damaged images of every kind: read, or refused with a ValueError, and nothing else.

A longer run: `python tests/images/test_fuzz.py 28000`.
"""

import collections
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from armoe_jax.images.io import FORMATS, Picture, image_size, read_image, write_image

KINDS = ("rgb", "gray", "alpha", "deep", "deep gray", "deep alpha")


def whole_files(folder: Path) -> dict[str, bytes]:
    """Returns sound files of every suffix and of every kind that it holds."""
    rng = np.random.default_rng(0)
    smooth = np.linspace(0, 200, 24 * 32 * 3).reshape(24, 32, 3)
    rgb = (smooth + rng.integers(0, 50, smooth.shape)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    files = {}
    for suffix, kind in itertools.product(FORMATS, KINDS):
        pixels = rgb.astype(np.uint16) * 257 if "deep" in kind else rgb
        alpha = pixels[..., 0] if "alpha" in kind else None
        pixels = pixels[..., 1] if "gray" in kind else pixels
        path = folder / f"whole{suffix}"
        try:
            write_image(path, Picture(pixels, alpha, exif=exif.tobytes()))
        except ValueError:  # this format cannot hold this kind
            continue
        files[f"{kind}{suffix}"] = path.read_bytes()
    return files


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Returns a file with some bytes changed, cut out, repeated or cut off."""
    bad = bytearray(data)
    kind = rng.integers(0, 6)
    # Headers are short and say the most: half of the places lie in the first 100 bytes.
    ends = rng.choice([min(100, len(bad)), len(bad)], 8)
    places = [int(rng.integers(0, end)) for end in ends]
    if kind == 0:
        del bad[places[-1] :]
    elif kind == 1:
        del bad[places[0] : places[0] + int(rng.integers(1, 40))]
    elif kind == 2:
        bad[places[0] : places[0]] = bad[places[1] : places[1] + int(rng.integers(1, 40))]
    elif kind == 3:
        span = slice(places[0], places[0] + 4)
        bad[span] = rng.choice([0, 1, 127, 255], 1).astype(np.uint8).tobytes() * 4
    else:
        for place in places[: int(rng.integers(1, 9))]:
            bad[place] ^= int(rng.integers(1, 256))
    return bytes(bad)


def damaged_files(files: dict[str, bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yields so many damaged files, kind after kind, some under the suffix of another."""
    rng = np.random.default_rng(seed)
    for name in itertools.islice(itertools.cycle(files), count):
        suffix = str(rng.choice(list(FORMATS))) if rng.random() < 0.1 else name[name.index(".") :]
        yield suffix, damage(files[name], rng)


def try_files(folder: Path, count: int, seed: int) -> collections.Counter[str]:
    """Reads damaged files; returns how many were read and how many refused.

    Raises:
        AssertionError: If a file raised anything but ValueError, or an unnamed one.
    """
    counts: collections.Counter[str] = collections.Counter()
    for suffix, data in damaged_files(whole_files(folder), count, seed):
        path = folder / f"damaged{suffix}"
        path.write_bytes(data)
        for read in (read_image, image_size):
            message = refusal(read, path)
            if message is not None:
                assert str(path) in message
                assert "\n" not in message
            counts[f"{read.__name__}: {'read' if message is None else 'refused'}"] += 1
    return counts


def refusal(read: Callable[[Path], object], path: Path) -> str | None:
    """Returns why a reader refuses a file; None if it does not."""
    try:
        read(path)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("seed", range(2))
def test_damaged_images_are_read_or_refused(tmp_path, seed):
    counts = try_files(tmp_path, count=300, seed=seed)
    assert counts["read_image: refused"] > 30
    assert counts["read_image: read"] > 30


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(f"{dict(try_files(Path(folder), int(sys.argv[1]), seed=9))}\n")
