"""Measures weights for JPEG: with and without the file's knowledge, and on files of many kinds.

python scripts/maintain/measure_jpeg.py --gt kodak24 [--checkpoint CKPT] [--json results/jpeg.json]

Prints four tables. By quality, the mean gain in PSNR-Y (dB), restored from the file (quantiser
steps and coefficients), told the quality alone, and estimating it from pixels. By kind of file at
--quality, the gain with whatever its own file tells ("file"), with what `restore` finds in file
and pixels ("found"), and estimating from pixels ("pixels"). And what becomes of the originals,
which nothing ever coded: PSNR-Y between them and their restoration, which is to be 50 dB or more.
With --outputs, what of the gain at that quality is lost by saving the result as JPEG once more, and
the mean size of the file.
"""

import argparse
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from armoe_jax import load_pretrained, psnr
from armoe_jax.images.files import find_images
from armoe_jax.images.jpeg import JpegCoding, read_jpeg_coding
from armoe_jax.images.jpeg_history import find_codings, find_first_coding
from armoe_jax.restore import Restorer
from armoe_jax.runtime import errors
from armoe_jax.runtime.files import write_atomically
from input_pipeline.image_files import read_rgb

OUTPUTS = (90, 95, 98, 99, 100)

Kind = Callable[[np.ndarray, int], tuple[bytes, np.ndarray]]
"""From an original and a quality to a file and the original of what the file shows."""


def main(argv: list[str] | None = None) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description="Measures weights for JPEG.")
    parser.add_argument("--gt", required=True, help="folder of originals")
    parser.add_argument("--checkpoint", default="car_small_jpeg")
    parser.add_argument("--qualities", type=int, nargs="*", default=[*range(10, 91, 10), 95, 98])
    parser.add_argument("--quality", type=int, nargs="*", default=[10, 30, 70], help="of kinds")
    parser.add_argument("--outputs", type=int, nargs="*", default=[], metavar="QUALITY")
    parser.add_argument("--kinds", nargs="*", default=[*KINDS], choices=[*KINDS], metavar="KIND")
    parser.add_argument("--crop", type=int, default=0, help="side of a middle part; 0: all")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    originals = [_middle(read_rgb(path), args.crop) for path in find_images([args.gt])]
    blind = load_pretrained(args.checkpoint)
    rows: list[dict[str, object]] = []
    for quality in args.qualities:
        told = load_pretrained(args.checkpoint, coding_quality=quality)
        restorers = {"file": blind, "told": told, "pixels": blind}
        rows.append({"quality": quality} | _gains(plain, originals, quality, restorers))
        _say(rows[-1])
    for name in args.kinds:
        for quality in args.quality:
            restorers = {"file": blind, "found": blind, "pixels": blind}
            gains = _gains(KINDS[name], originals, quality, restorers)
            rows.append({"kind": name, "quality": quality} | gains)
            _say(rows[-1])
    for quality in args.outputs:
        rows.append({"output of": quality} | _losses(originals, quality, blind))
        _say(rows[-1])
    rows.append({"kind": "never coded"} | _changes(originals, blind))
    _say(rows[-1])
    if args.json:
        write_atomically(args.json, json.dumps(rows, indent=1) + "\n")
    return 0


def _gains(
    kind: Kind, originals: list[np.ndarray], quality: int, restorers: dict[str, Restorer]
) -> dict[str, object]:
    gains: dict[str, list[float]] = {name: [] for name in restorers}
    inputs: list[float] = []
    for original in originals:
        file, shown = kind(original, quality)
        lq, coding = _open(file)
        inputs.append(psnr(lq, shown, y_only=shown.ndim == 3))
        for name, restorer in restorers.items():
            known = None if name in ("told", "pixels") else coding
            if name == "found":
                known = find_codings(file, lq).believed
            restored = restorer(lq, coding=known)
            gains[name].append(psnr(restored, shown, y_only=shown.ndim == 3) - inputs[-1])
    figures: dict[str, object] = {"input": round(float(np.mean(inputs)), 3)}
    for name, values in gains.items():
        figures |= {name: round(float(np.mean(values)), 3)}
        figures |= {f"worst {name}": round(min(values), 3)}
    return figures


def _losses(originals: list[np.ndarray], quality: int, restorer: Restorer) -> dict[str, object]:
    """Gain, and what each way of saving the result loses of it (dB) at which size (KiB)."""
    forms = {"4:2:0, 75": (75, "4:2:0")} | {f"4:4:4, {q}": (q, "4:4:4") for q in OUTPUTS}
    found: dict[str, list[tuple[float, float]]] = {"gain, PNG": [], **{name: [] for name in forms}}
    for original in originals:
        lq, coding = _open(plain(original, quality)[0])
        restored = restorer(lq, coding=coding)
        reached = psnr(restored, original)
        found["gain, PNG"].append((reached - psnr(lq, original), len(_save(restored, 0, "PNG"))))
        for name, (output, subsampling) in forms.items():
            file = _save(restored, output, subsampling=subsampling)
            found[name].append((reached - psnr(_open(file)[0], original), len(file)))
    means = {name: np.mean(values, axis=0) for name, values in found.items()}
    return {name: f"{decibels:.3f} ({size / 1024:.0f})" for name, (decibels, size) in means.items()}


def _changes(originals: list[np.ndarray], restorer: Restorer) -> dict[str, object]:
    """PSNR between originals and what becomes of them, 99 if that is nothing."""
    kept = [min(psnr(restorer(original), original), 99.0) for original in originals]
    found = sum(find_first_coding(original) is not None for original in originals)
    return {
        "kept": round(float(np.mean(kept)), 3),
        "worst kept": round(min(kept), 3),
        "taken for coded": found,
    }


def _open(file: bytes) -> tuple[np.ndarray, JpegCoding | None]:
    from PIL import ImageOps

    with Image.open(io.BytesIO(file)) as picture:
        pixels = np.asarray(ImageOps.exif_transpose(picture))
    coding = read_jpeg_coding(file)
    return pixels, coding if isinstance(coding, JpegCoding) else None


def _save(image: np.ndarray, quality: int, form: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    settings = {"quality": quality} if form == "JPEG" else {}
    Image.fromarray(image).save(buffer, form, **settings, **options)
    return buffer.getvalue()


def plain(image: np.ndarray, quality: int) -> tuple[bytes, np.ndarray]:
    """4:2:0 by libjpeg."""
    return _save(image, quality, subsampling="4:2:0"), image


def _saved_again(second: int) -> Kind:
    def kind(image: np.ndarray, quality: int) -> tuple[bytes, np.ndarray]:
        first, _ = _open(_save(image, quality))
        return _save(first, second), image

    return kind


def _shifted(pixels: int, second: int) -> Kind:
    def kind(image: np.ndarray, quality: int) -> tuple[bytes, np.ndarray]:
        first, _ = _open(_save(image, quality))
        return _save(first[pixels:, pixels:], second), image[pixels:, pixels:]

    return kind


def _as_png(image: np.ndarray, quality: int) -> tuple[bytes, np.ndarray]:
    return _save(_open(_save(image, quality))[0], 0, "PNG"), image


def _cropped_png(image: np.ndarray, quality: int) -> tuple[bytes, np.ndarray]:
    return _save(_open(_save(image, quality))[0][3:, 5:], 0, "PNG"), image[3:, 5:]


def _odd(image: np.ndarray, quality: int) -> tuple[bytes, np.ndarray]:
    return _save(image[:-3, :-5], quality), image[:-3, :-5]


def _turned(image: np.ndarray, quality: int) -> tuple[bytes, np.ndarray]:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turned clockwise
    return _save(image[:-3, :-5], quality, exif=exif), np.rot90(image[:-3, :-5], -1)


def _gray(image: np.ndarray, quality: int) -> tuple[bytes, np.ndarray]:
    gray = np.asarray(Image.fromarray(image).convert("L"))
    return _save(gray, quality), gray


KINDS: dict[str, Kind] = {
    "progressive": lambda i, q: (_save(i, q, progressive=True), i),
    "4:4:4": lambda i, q: (_save(i, q, subsampling="4:4:4"), i),
    "gray": _gray,
    "odd size": _odd,
    "EXIF-turned": _turned,
    "saved as PNG": _as_png,
    "cropped, PNG": _cropped_png,
    **{f"saved again at {n}": _saved_again(n) for n in (95, 85, 75)},
    **{f"shifted by {n}, saved at 95": _shifted(n, 95) for n in range(1, 8)},
    "shifted by 3, saved at 75": _shifted(3, 75),
}


def _middle(image: np.ndarray, side: int) -> np.ndarray:
    if not side:
        return image
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def _say(row: dict[str, object]) -> None:
    sys.stdout.write("  ".join(f"{name} {value}" for name, value in row.items()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(errors.run(main, "measure_jpeg.py"))
