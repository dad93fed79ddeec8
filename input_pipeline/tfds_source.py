"""Pairs of a prepared TFDS data set, for the pipeline."""

# TFDS has no usable types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from input_pipeline.codecs import CODEC_IDS
from input_pipeline.example import Example
from input_pipeline.transforms import reduce_bicubic, to_channels


@dataclasses.dataclass(frozen=True)
class TfdsPairs:
    """Random access to the pairs of a split.

    Attributes:
        root: Version folder of a prepared builder, such as "tfds/kodak24/vvc_qp27/1.0.0".
        split: Its name.
        scale: Side of gt over side of lq; where lq is gt itself, it is reduced here.
        in_chans: 3 for RGB, 1 for gray.

    Raises:
        FileNotFoundError: If there is no data set or no such split.
        ValueError: If its pairs have another scale.
    """

    root: str
    split: str
    scale: int = 1
    in_chans: int = 3

    def __post_init__(self) -> None:
        if not (Path(self.root) / "dataset_info.json").is_file():
            raise FileNotFoundError(
                f"{self.root} is not the version folder of a prepared TFDS data set; prepare it "
                "with input_pipeline.datasets.prepare and give .../name/config/version"
            )
        splits = sorted(tfds.builder_from_directory(self.root).info.splits)
        if self.split not in splits:
            raise FileNotFoundError(
                f"{self.root} has no split {self.split!r}; it has {', '.join(splits)}"
            )
        self[0]  # a wrong scale shows before training starts

    @functools.cached_property
    def _elements(self) -> Sequence[dict[str, Any]]:
        builder: Any = tfds.builder_from_directory(self.root)
        return builder.as_data_source(split=self.split)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the open reader out; each worker opens its own."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __len__(self) -> int:
        return len(self._elements)

    def __getitem__(self, index: int) -> Example:
        element = self._elements[index]
        lq, gt = (to_channels(np.asarray(element[key]), self.in_chans) for key in ("lq", "gt"))
        if self.scale > 1 and lq.shape == gt.shape:
            gt, lq = reduce_bicubic(gt, self.scale)
        if tuple(self.scale * side for side in lq.shape[:2]) != gt.shape[:2]:
            raise ValueError(
                f"{self.root}: {element['name'].decode()} has lq of {lq.shape[:2]} and gt of "
                f"{gt.shape[:2]}, which is not scale {self.scale}"
            )
        codec = CODEC_IDS.get(element["codec"].decode(), 0)
        return Example(lq, gt, int(element["qp"]), codec)

    def names(self) -> list[str]:
        """Returns the names of all images, in order."""
        return [element["name"].decode() for element in self._elements]

    def fingerprint(self) -> str:
        """See `PairSource.fingerprint`."""
        info = (Path(self.root) / "dataset_info.json").read_bytes()
        settings = f"{Path(self.root).resolve()} {self.split} {self.scale} {self.in_chans}"
        return hashlib.sha256(info + settings.encode()).hexdigest()
