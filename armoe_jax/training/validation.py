"""Validation: restores the evaluation images during and after training, and measures them."""

import concurrent.futures
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import UInt8

from armoe_jax.evaluation.pairs import evaluate_pairs
from armoe_jax.evaluation.record import ImageRecord
from armoe_jax.models import AnyConfig
from armoe_jax.restore import Restorer
from armoe_jax.restore.restorer import check_tiling
from armoe_jax.training.ranges import require_range

Image = UInt8[np.ndarray, "h w c"]
FIGURES = ("psnr_y", "ssim_y", "lq_psnr_y", "lq_ssim_y")
_READERS = 4  # threads; whole images are in memory, one a thread


class ValidationStopped(BaseException):
    """Validation was given up because the run is asked to stop."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One restored image beside its input and original, uint8 (h, w, c)."""

    name: str
    lq: np.ndarray
    restored: np.ndarray
    gt: np.ndarray


class Validator:
    """Measures variables on the evaluation pairs.

    Args:
        config: Architecture.
        pairs: Evaluation pairs with `name`, `lq`, `gt` and `coding`.
        crop_border: Pixels cut off before measuring.
        tile: As in `Restorer`.
        overlap: As in `Restorer`.
        num_samples: Restored images that are kept to be shown.

    Raises:
        ValueError: A setting is out of its range.
    """

    def __init__(
        self,
        config: AnyConfig,
        pairs: Sequence[Any],
        *,
        crop_border: int = 0,
        tile: str | int = "none",
        overlap: int = 32,
        num_samples: int = 0,
    ):
        check_tiling(tile, overlap, config.alignment)
        require_range("eval.crop_border", crop_border, low=0)
        require_range("eval.sample_images", num_samples, low=0)
        self._config = config
        self._pairs = pairs
        self._crop_border = crop_border
        self._restorer: Restorer | None = None
        self._restorer_options: dict[str, Any] = {"tile": tile, "overlap": overlap}
        self._num_samples = num_samples

    def check(self) -> None:
        """Reads this process's share of the pairs once, so that what is wrong shows at the start.

        Raises:
            ValueError: An image cannot be read, sizes do not fit, or the border leaves nothing.
        """
        share = range(jax.process_index(), len(self._pairs), jax.process_count())
        with concurrent.futures.ThreadPoolExecutor(_READERS) as executor:
            for _ in executor.map(self._check_pair, share):
                pass

    def _check_pair(self, index: int) -> None:
        pair = self._pairs[index]
        height, width = pair.gt.shape[:2]
        if 2 * self._crop_border >= min(height, width):
            raise ValueError(
                f"eval.crop_border is {self._crop_border}, which leaves nothing of {pair.name} of "
                f"{width}x{height} pixels"
            )

    def __call__(
        self,
        variables: Mapping[str, Any],
        *,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> tuple[dict[str, float], list[Sample]]:
        """Returns the mean figures over all pairs, and samples.

        With several processes, each restores its share of the images on its first device, and all
        get the same figures.

        Args:
            variables: Variables as host arrays.
            should_stop: Asked before each image; if it answers yes, ValidationStopped is raised.
        """
        restorer = self._restorer_of(variables)
        samples: list[Sample] = []
        share = range(jax.process_index(), len(self._pairs), jax.process_count())
        current: list[Any] = []

        def pairs() -> Iterator[Any]:
            for index in share:
                if should_stop():
                    raise ValidationStopped
                current[:] = [self._pairs[index]]
                yield current[0]

        def restore(lq: Image, **coding: Any) -> Image:
            restored = restorer(lq, **coding)
            if len(samples) < self._num_samples:
                pair = current[0]
                samples.append(Sample(pair.name, pair.lq, restored, pair.gt))
            return restored

        if not share:
            return _mean_over_processes([], len(self._pairs)), samples
        report = evaluate_pairs(
            restore, pairs(), scale=self._config.scale, crop_border=self._crop_border
        )
        return _mean_over_processes(report.images, len(self._pairs)), samples

    def _restorer_of(self, variables: Mapping[str, Any]) -> Restorer:
        """Returns a restorer that shares what earlier validations have compiled."""
        if self._restorer is None:
            self._restorer = Restorer(self._config, variables, **self._restorer_options)
        else:
            self._restorer = self._restorer.with_variables(variables)
        return self._restorer


def limit(pairs: Sequence[Any], count: int) -> Sequence[Any]:
    """Returns `count` pairs spread evenly over all of them; all for 0."""
    if count <= 0 or count >= len(pairs):
        return pairs
    return [pairs[i * len(pairs) // count] for i in range(count)]


def show_samples(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """Returns input, restored image and original side by side, for each sample."""
    return {
        f"sample/{s.name}": np.concatenate([_fit(s.lq, s.gt), s.restored, s.gt], axis=1)
        for s in samples
    }


def show_expert_usage(
    usage: Mapping[str, float], experts: Sequence[str], cell: int = 16
) -> np.ndarray:
    """Returns a picture with one row a layer and one column an expert; white is 100 %."""
    layers = len(usage) // max(len(experts), 1)
    table = [[usage[f"expert_usage/layer{i:02d}/{e}"] for e in experts] for i in range(layers)]
    gray = np.rint(255 * np.asarray(table, np.float64)).astype(np.uint8)
    return np.repeat(np.kron(gray, np.ones((cell, cell), np.uint8))[..., None], 3, axis=2)


def _fit(lq: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Enlarges a low-resolution input by repetition to its original's size."""
    factor = gt.shape[0] // lq.shape[0]
    return np.repeat(np.repeat(lq, factor, axis=0), factor, axis=1) if factor > 1 else lq


def _mean_over_processes(images: Sequence[ImageRecord], count: int) -> dict[str, float]:
    """Returns the mean of each figure over the images of all processes.

    An identical pair has infinite PSNR (null in the report), and so has then the mean.
    """
    values = np.array(
        [[_number(image.figures[name]) for name in FIGURES] for image in images], np.float64
    ).reshape(-1, len(FIGURES))
    total = values.sum(axis=0)
    if jax.process_count() > 1:
        # Bits as integers: float64 would be rounded to float32 on the way.
        bits = multihost_utils.process_allgather(total.view(np.uint32))
        total = np.asarray(bits).view(np.float64).reshape(-1, len(FIGURES)).sum(axis=0)
    return dict(zip(FIGURES, (total / count).tolist(), strict=True))


def _number(value: float | None) -> float:
    return math.inf if value is None else value


def parse_tile(tile: str | int) -> str | int:
    """Returns config.eval.tile with a number given as text turned into one."""
    return int(tile) if isinstance(tile, str) and tile.isdecimal() else tile
