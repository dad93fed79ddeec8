"""Measures of image, sequence and codec quality. NumPy and SciPy only: never starts an accelerator.

Images are uint8 arrays of shape (H, W, 3) in RGB order, or (H, W) and (H, W, 1) for gray.
"""

from armoe_jax.metrics.bd import (
    BDResult,
    bd_psnr,
    bd_rate,
    bjontegaard_delta,
    single_point_rate_saving,
)
from armoe_jax.metrics.blocking import psnr_b
from armoe_jax.metrics.image import luma, psnr
from armoe_jax.metrics.sequence import (
    SequencePSNR,
    plane_mse,
    plane_psnr,
    sequence_psnr,
    weighted_psnr_611,
    yuv_psnr,
)
from armoe_jax.metrics.structural import ms_ssim, ssim

__all__ = [
    "BDResult",
    "SequencePSNR",
    "bd_psnr",
    "bd_rate",
    "bjontegaard_delta",
    "luma",
    "ms_ssim",
    "plane_mse",
    "plane_psnr",
    "psnr",
    "psnr_b",
    "sequence_psnr",
    "single_point_rate_saving",
    "ssim",
    "weighted_psnr_611",
    "yuv_psnr",
]
