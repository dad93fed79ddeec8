"""Evaluations of small pictures, as `evaluate` writes them."""

import json
from pathlib import Path

import cv2
import numpy as np

from armoe_jax.evaluation.pairs import evaluate_pairs
from armoe_jax.images.io import write_image
from input_pipeline.example import Pair

NAMES = ("alpha", "beta", "<gamma>&")
QUALITIES = (10, 30, 50, 80)


def make_run(folder: Path, quality: int, *, count: int = 3) -> Path:
    """Codes small pictures as JPEG, "restores" them half-way, and writes what evaluate writes."""
    rng = np.random.default_rng(0)
    pairs, images = [], []
    for name in NAMES[:count]:
        noise = cv2.GaussianBlur(rng.random((48, 64, 3)), (0, 0), 1.5)
        gt = np.rint(255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)
        _, data = cv2.imencode(".jpg", gt, [cv2.IMWRITE_JPEG_QUALITY, quality])
        lq = cv2.imdecode(data, cv2.IMREAD_COLOR)
        pairs.append(Pair(name, lq, gt))
        images.append({"name": name, "qp": quality, "bpp": 8 * data.size / 48 / 64})
        write_image(folder / "lq" / f"{name}.png", lq)
        write_image(folder / "gt" / f"{name}.png", gt)
    originals = {pair.lq.tobytes(): pair.gt for pair in pairs}

    def halfway(lq):
        return np.rint((lq.astype(float) + originals[lq.tobytes()]) / 2).astype(np.uint8)

    record = evaluate_pairs(halfway, pairs, save_images=folder / "restored").to_dict()
    record["expert_names"] = ["dct", "fft"]
    for i, image in enumerate(record["images"]):
        image["expert"] = [0, i % 2, 1]
    (folder / "evaluation.json").write_text(json.dumps(record))
    (folder / "manifest.json").write_text(json.dumps({"codec": "jpeg", "images": images}))
    return folder
