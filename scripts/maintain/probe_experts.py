r"""What is left for an expert, or a residual pair, to do after a trained network without experts.

python scripts/maintain/probe_experts.py --train PHOTOGRAPHS --eval KODAK --json probed.json

A comparison that needs no training, for machines on which that takes too long. Features of the
trained network's last block go through a layer that is not trained, and what that puts out is
combined linearly to tell the error of the network's luma: least squares on one set of images,
measured on another. Combinations for "pair": of 3x3 neighbours of every channel behind a random
convolution and a rectifier; for an expert: of a window's coefficients of all channels, as they are
and shrunk by two thresholds, one combination for each shell of frequencies; "... linear": as they
are alone, which a convolution could do too; "windows": each window takes the best of the experts,
and "images" each image, by the error itself, which no gate knows: bounds from above; "twice": the
same choice between two fits of one expert, of other images, which is what chance gives.

Each seed has other images to fit on. Gains are in dB PSNR-Y beyond the network's own, means over
central crops, with standard errors over seeds. It does not tell what a network could do that was
trained with experts (see `compare_experts.py`).
"""

import argparse
import functools
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from gain_table import with_error
from jaxtyping import Float

from armoe_jax.checkpoints.weights import load_weights
from armoe_jax.experts import FRAMES
from armoe_jax.images.files import images_in
from armoe_jax.images.io import read_image
from armoe_jax.images.jpeg import encode_jpeg
from armoe_jax.models import ARMoEWConfig, build_model
from armoe_jax.models.armoe_w import WindowedGroup, quality_of_steps
from armoe_jax.ops.color import LUMA
from armoe_jax.restore.jobs import on_blocks
from armoe_jax.runtime import errors
from armoe_jax.runtime.errors import UserError
from armoe_jax.runtime.files import write_atomically

EXPERTS = ("dct", "fft", "haar")
THRESHOLDS = (0.5, 1.5)
"""Times the standard deviation of a band's coefficients of a channel."""

RIDGE = 1e-3
"""Of the normal equations' diagonal."""

Plane = Float[np.ndarray, "h w"]
Features = Float[np.ndarray, "h w c"]
Predict = Callable[[Features], Plane]


class Crop(NamedTuple):
    """What the network makes of a coded crop, and what is wrong with its luma, in gray levels."""

    features: Features
    error: Plane


def main(argv: list[str] | None = None) -> int:
    """Fits and measures, and prints a row for each kind of addition."""
    args = _parse(argv)
    trained = load_weights(args.init)
    record: dict[str, dict[str, list[float]]] = {}
    for quality in args.qualities:
        look = functools.partial(_look, trained, quality)
        unseen = [look(image) for image in _crops(args.eval, args.crop, 0, args.images)]
        fits: list[dict[str, Predict]] = []
        for seed in range(args.seeds):
            images = _crops(args.train, 2 * args.crop, seed * args.fit, args.fit)
            fits.append(_fit([look(_halved(image)) for image in images], seed))
            for name, gain in _gains(fits[-1], fits[0] if seed else None, unseen).items():
                record.setdefault(name, {}).setdefault(str(quality), []).append(gain)
                sys.stderr.write(f"quality {quality} seed {seed} {name}: {gain:+.4f}\n")
            if args.json:
                write_atomically(args.json, json.dumps(record, indent=1) + "\n")
    for name, gains in record.items():
        cells = [f"{quality}: {with_error(values)}" for quality, values in gains.items()]
        sys.stdout.write("  ".join([f"{name:12}", *cells]) + "\n")
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Tells what is left to do for experts.")
    parser.add_argument("--init", default="car_small_jpeg", help="weights for JPEG, no experts")
    parser.add_argument("--train", required=True, help="folder of originals to fit on, halved")
    parser.add_argument("--eval", required=True, help="folder of originals to measure on")
    parser.add_argument("--qualities", nargs="+", type=int, default=[10, 40], help="of JPEG")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fit", type=int, default=32, help="images of a seed")
    parser.add_argument("--images", type=int, default=24, help="to measure on")
    parser.add_argument("--crop", type=int, default=128, help="side of the crops, in pixels")
    parser.add_argument("--json", type=Path, help="file for the results")
    return parser.parse_args(argv)


def _crops(folder: str, side: int, first: int, count: int) -> list[np.ndarray]:
    files = images_in(folder)[first : first + count]
    if len(files) < count:
        raise UserError(f"{folder} has fewer than {first + count} images; give --fit or --images")
    return [_centre(read_image(file).pixels, side) for file in files]


def _centre(image: np.ndarray, side: int) -> np.ndarray:
    if min(image.shape[:2]) < side:
        raise UserError(f"an image of {image.shape[:2]} pixels is smaller than {side}; give --crop")
    top, left = ((n - side) // 2 for n in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def _halved(image: np.ndarray) -> np.ndarray:
    """Returns means of 2x2 pixels: photographs were JPEGs before."""
    h, w, c = image.shape
    means = image.reshape(h // 2, 2, w // 2, 2, c).mean(axis=(1, 3))
    return np.rint(means).astype(np.uint8)


def _look(trained: Any, quality: int, original: np.ndarray) -> Crop:
    coded, coding = encode_jpeg(original, quality=quality)
    x = on_blocks(coded, coding)[None]  # as a `Restorer` shows it to the network
    steps = coding.luma_table.reshape(1, 64).astype(np.float32)
    restored, features = _program(trained.config)(trained.variables, x, steps)
    error = (original - 255.0 * np.asarray(restored[0], np.float64)) @ np.array(LUMA)
    return Crop(np.asarray(features[0]), error)


@functools.cache
def _program(config: ARMoEWConfig) -> Any:
    apply: Any = build_model(config).apply

    @jax.jit
    def run(variables: Any, x: jax.Array, steps: jax.Array) -> tuple[jax.Array, jax.Array]:
        restored, seen = apply(
            variables,
            x,
            quality=quality_of_steps(steps),
            steps=steps,
            capture_intermediates=lambda module, _: isinstance(module, WindowedGroup),
        )
        return restored, seen["intermediates"]["group_0"]["__call__"][0][0]

    return run


def _fit(crops: list[Crop], seed: int) -> dict[str, Predict]:
    """Returns what tells the error from features, for each kind of addition."""
    fits = {"pair": _fit_pair(crops, seed)}
    for name in EXPERTS:
        fits[name] = _fit_expert(crops, name, THRESHOLDS)
    fits["dct linear"] = _fit_expert(crops, "dct", ())
    return fits


def _fit_pair(crops: list[Crop], seed: int) -> Predict:
    channels = crops[0].features.shape[-1]
    size = np.sqrt(np.mean([np.mean(crop.features**2) for crop in crops]))
    kernel = np.random.default_rng(seed).normal(size=(9 * channels, channels))
    kernel = kernel * (2 / (9 * channels)) ** 0.5 / size

    def behind(features: Features) -> np.ndarray:
        hidden = np.maximum(_neighbours(features).reshape(-1, 9 * channels) @ kernel, 0)
        neighbours = _neighbours(hidden.reshape(features.shape)).reshape(-1, 9 * channels)
        return np.concatenate([neighbours, np.ones((len(neighbours), 1))], axis=1)

    weights = _least_squares((behind(crop.features), crop.error.ravel()) for crop in crops)
    return lambda features: (behind(features) @ weights).reshape(features.shape[:2])


def _neighbours(x: Features) -> Float[np.ndarray, "h w 9 c"]:
    h, w, _ = x.shape
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    return np.stack([padded[i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=2)


def _fit_expert(crops: list[Crop], name: str, thresholds: tuple[float, ...]) -> Predict:
    frame, side = FRAMES[name](8), 8
    spectra = [_spectrum(crop.features, frame.matrix) for crop in crops]
    deviation = np.sqrt(np.mean([np.mean(s[0] ** 2, axis=1) for s in spectra], axis=0))[:, None]
    shells = np.array(frame.shells)

    def columns(spectrum: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        z, amplitude = spectrum
        parts = [z, *(z - np.clip(z, -t * deviation, t * deviation) for t in thresholds)]
        return np.concatenate(parts, axis=2) * amplitude[None, :, None]  # bands windows regressors

    wanted = [frame.matrix @ _windows(crop.error[..., None], side)[..., 0] for crop in crops]
    designs = [columns(spectrum) for spectrum in spectra]
    weights = [
        _least_squares(
            (design[shells == k].reshape(-1, design.shape[2]), target[shells == k].ravel())
            for design, target in zip(designs, wanted, strict=True)
        )
        for k in range(frame.num_shells)
    ]
    by_band = np.stack([weights[k] for k in shells])[:, :, None]

    def predict(features: Features) -> Plane:
        told = (columns(_spectrum(features, frame.matrix)) @ by_band)[..., 0]
        return _from_windows(frame.matrix.T @ told, *features.shape[:2])

    return predict


def _spectrum(features: Features, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the coefficients of normalised windows, by band, window, channel; and their sizes."""
    windows = _windows(features.astype(np.float64), 8)
    amplitude = np.sqrt(np.mean(windows**2, axis=(0, 2))) + 1e-3
    return np.tensordot(matrix, windows / amplitude[None, :, None], 1), amplitude


def _windows(x: np.ndarray, side: int) -> Float[np.ndarray, "pixels windows c"]:
    h, w, c = x.shape
    grid = x.reshape(h // side, side, w // side, side, c).transpose(1, 3, 0, 2, 4)
    return grid.reshape(side * side, -1, c)


def _from_windows(windows: Float[np.ndarray, "pixels windows"], h: int, w: int) -> Plane:
    grid = windows.reshape(8, 8, h // 8, w // 8)
    return grid.transpose(2, 0, 3, 1).reshape(h, w)


def _least_squares(parts: Any) -> np.ndarray:
    """Solves for weights, a part of the equations at a time."""
    square, right = np.zeros(()), np.zeros(())
    for design, target in parts:
        square, right = square + design.T @ design, right + design.T @ target
    diagonal = np.diag(np.diag(square)) + 1e-12 * np.eye(len(square))
    return np.linalg.solve(square + RIDGE * diagonal, right)


def _gains(
    fits: dict[str, Predict], other: dict[str, Predict] | None, crops: list[Crop]
) -> dict[str, float]:
    """Returns mean gains; `other` fits are of other images, for what chance gives."""
    gains: dict[str, list[float]] = {}
    for crop in crops:
        left = {name: crop.error - predict(crop.features) for name, predict in fits.items()}
        experts = [crop.error, *(left[name] for name in EXPERTS)]
        left["windows"] = _best(experts, 8)
        left["images"] = min(experts, key=lambda plane: np.mean(plane**2))
        if other:
            left["twice"] = _best(
                [crop.error, left["dct"], crop.error - other["dct"](crop.features)], 8
            )
        for name, plane in left.items():
            ratio = np.mean(crop.error**2) / np.mean(plane**2)
            gains.setdefault(name, []).append(10 * np.log10(ratio))
    return {name: statistics.fmean(values) for name, values in gains.items()}


def _best(planes: list[Plane], side: int) -> Plane:
    """Returns of each window the plane with the smallest squares."""
    windows = np.stack([_windows(plane[..., None], side)[..., 0] for plane in planes])
    chosen = np.argmin(np.sum(windows**2, axis=1), axis=0)
    best = np.take_along_axis(windows, chosen[None, None, :], axis=0)[0]
    return _from_windows(best, *planes[0].shape)


if __name__ == "__main__":
    sys.exit(errors.run(main, "probe_experts.py"))
