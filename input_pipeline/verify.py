"""Checks a built tree against its manifest: files, checksums, bits, PSNR, SSIM, decoding."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from armoe_jax.runtime.errors import one_line
from armoe_jax.runtime.files import sha256_of
from input_pipeline.build import get_suffix, measure
from input_pipeline.codecs import get_codec
from input_pipeline.codecs.base import CodecOptions
from input_pipeline.image_files import read_rgb
from input_pipeline.manifest import MANIFEST, PARTS, Record, load_manifest, pixel_checksum

DECODERS = {"vvc": "vvc", "vtm": "vvc", "hevc": "hevc", "avc": "avc", "av1": "av1", "jpeg": "jpeg"}
"""Whose decoder reads a codec's streams; with `clean` colours the image is the same everywhere."""


def find_trees(folder: str | Path) -> list[Path]:
    """Returns the folder itself, or those below it (codec/quality), that hold a manifest.

    Raises:
        FileNotFoundError: If there is none.
    """
    folder = Path(folder)
    if (folder / MANIFEST).is_file():
        return [folder]
    trees = sorted(path.parent for path in folder.glob(f"*/*/{MANIFEST}"))
    if not trees:
        raise FileNotFoundError(
            f"{folder} holds no {MANIFEST}; build it: armoe-jax build-dataset --source DIR "
            "--codec vvc --qp 27 --out DIR"
        )
    return trees


def verify_tree(folder: Path) -> Iterator[list[str]]:
    """Yields, image by image, what is wrong with it (empty if nothing), then with the folder.

    Raises:
        FileNotFoundError: If there is no manifest.
        ValueError: If the manifest is damaged.
    """
    manifest = load_manifest(folder)
    for record in manifest["images"]:
        yield _verify_image(folder, manifest, record)
    yield _strangers(folder, manifest)


def _strangers(folder: Path, manifest: dict[str, Any]) -> list[str]:
    names = {record["name"] for record in manifest["images"]}
    return [
        f"{path}: not in the manifest"
        for part in PARTS
        for path in sorted((folder / part).glob("*"))
        if path.stem not in names and not path.name.startswith(".")
    ]


def _verify_image(folder: Path, manifest: dict[str, Any], record: Record) -> list[str]:
    name, codec = record["name"], str(manifest["codec"])
    gt_path, lq_path = folder / "gt" / f"{name}.png", folder / "lq" / f"{name}.png"
    stream_path = folder / "bitstreams" / f"{name}{get_suffix(codec)}"
    try:
        gt, lq, stream = read_rgb(gt_path), read_rgb(lq_path), stream_path.read_bytes()
        seen = {
            "gt checksum": pixel_checksum(gt),
            "lq checksum": pixel_checksum(lq),
            "bitstream checksum": sha256_of(stream_path),
            "qp": manifest["qp"],
            "bits": 8 * len(stream),
            "bpp": round(8 * len(stream) / (gt.shape[0] * gt.shape[1]), 6),
            "size": (gt.shape[1], gt.shape[0]),
            **measure(lq, gt),
        }
        if manifest["colors"] == "clean" and codec in DECODERS:
            decoder = get_codec(DECODERS[codec], CodecOptions())
            seen["decoded bitstream"] = pixel_checksum(decoder.decode(stream, *gt.shape[:2]))
    except (ValueError, OSError) as error:
        return [f"{folder / name}: {one_line(error)}"]
    checksums = record["checksums"]
    expected = {
        **{f"{part} checksum": checksums.get(part) for part in ("gt", "lq", "bitstream")},
        **{key: record[key] for key in ("qp", "bits", "bpp", "psnr_y", "ssim_y")},
        "size": (record["width"], record["height"]),
        "decoded bitstream": checksums.get("lq"),
    }
    return [
        f"{folder / name}: {key} is {value}, the manifest says {expected[key]}"
        for key, value in seen.items()
        if value != expected[key]
    ]
