"""Pairs and records of evaluations, made for the tests beside."""

from typing import NamedTuple

import numpy as np

from armoe_jax.evaluation.record import Evaluation, ImageRecord


class Pair(NamedTuple):
    name: str
    lq: np.ndarray
    gt: np.ndarray


def noisy_pair(name, height=20, width=24, seed=0):
    rng = np.random.default_rng(seed)
    gt = rng.integers(0, 256, (height, width, 3), np.uint8)
    lq = np.clip(gt + rng.normal(0, 8, gt.shape), 0, 255).astype(np.uint8)
    return Pair(name, lq, gt)


def halfway(pair):
    """A network that removes half of the error."""
    return lambda lq: ((lq.astype(int) + pair.gt) // 2).astype(np.uint8)


def evaluation(images, **fields):
    """A record of rows (name, lq_psnr_y, psnr_y, chosen experts); SSIM falls with PSNR."""
    rows = []
    for name, before, after, expert in images:
        gain = None if after is None else after - before
        figures = {"psnr_y": after, "lq_psnr_y": before, "gain_psnr_y": gain}
        figures |= {"lq_ssim_y": 0.9, "ssim_y": 0.91, "gain_psnr_rgb": 0.2}
        rows.append(ImageRecord(name, figures, expert))
    return Evaluation(tuple(rows), seconds_per_image=1.234, **fields)


IMAGES = [("a", 30.0, 30.54, (0, 1)), ("b", 30.0, 29.96, (1, 1))]
VVC, JPEG = {"codec": "vvc", "qp": 27}, {"codec": "jpeg", "qp": 10}
