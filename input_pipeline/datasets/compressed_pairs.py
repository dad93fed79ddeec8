"""Pairs from a folder that `armoe-jax build-dataset` has written."""

# TFDS has no usable types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingTypeStubs=false, reportUntypedBaseClass=false

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from input_pipeline.datasets.base import (
    KeyedExample,
    PairBuilder,
    PairConfig,
    coded_configs,
)
from input_pipeline.manifest import MANIFEST, load_manifest, tree_name


class CompressedPairs(PairBuilder):
    """Compressed images beside their originals, from a tree in `manual_dir`, bytes unchanged.

    The config names codec and quality; `manual_dir` is the tree itself or the folder above its
    `codec/qpN`. Other qualities than the ready-made ones: `coded_config`.
    """

    BUILDER_CONFIGS: ClassVar[list[PairConfig]] = coded_configs()
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Build the pairs: armoe-jax build-dataset --source DIR --codec vvc --qp 27 --out DIR"
    )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        return {"train": self._generate_examples(_pairs(self.find(Path(dl_manager.manual_dir))))}

    def find(self, root: Path) -> Path:
        """Returns the tree of this config.

        Raises:
            FileNotFoundError: If it is not below `root`.
            ValueError: If the tree there is of another codec, quality or colour conversion.
        """
        config = self.pair_config
        nested = root / tree_name(config.codec, config.qp)
        folder = nested if (nested / MANIFEST).is_file() else root
        manifest = load_manifest(folder)
        seen = tuple(manifest[key] for key in ("codec", "qp", "colors"))
        expected = (config.codec, config.qp, config.colors)
        if seen != expected:
            raise ValueError(f"{folder} is a tree of {seen}, config {config.name} needs {expected}")
        return folder


def _pairs(folder: Path) -> Iterator[KeyedExample]:
    manifest = load_manifest(folder)
    for record in manifest["images"]:
        name = record["name"]
        yield (
            name,
            {
                "name": name,
                "lq": str(folder / "lq" / f"{name}.png"),
                "gt": str(folder / "gt" / f"{name}.png"),
                "qp": manifest["qp"],
                "codec": manifest["codec"],
            },
        )
