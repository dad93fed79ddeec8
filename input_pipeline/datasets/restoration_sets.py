"""The sets that restoration papers report on, and DF2K, from folders that people already have."""

# TFDS has no usable types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingTypeStubs=false, reportUntypedBaseClass=false

from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds
from absl import logging

from input_pipeline.datasets.base import (
    PairBuilder,
    PairConfig,
    bicubic_configs,
    coded_configs,
)
from input_pipeline.image_files import check_unique_stems, list_images

Layout = tuple[str, ...]
"""Folders below manual_dir whose images together make a split."""


class RestorationSet(PairBuilder, skip_registration=True):
    """Originals in `manual_dir`; `lq` is reduced or coded while building.

    Attributes:
        layouts: Split -> folders to try in order; the first that exists is taken.
        num_images: Split -> how many images the set has; another number is reported.
    """

    BUILDER_CONFIGS: ClassVar[list[PairConfig]] = [
        PairConfig(name="original", description="lq is gt: for degradation on the fly"),
        *bicubic_configs(),
        *coded_configs(),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put the images into one of the folders named in `layouts`."
    layouts: ClassVar[dict[str, tuple[Layout, ...]]] = {}
    num_images: ClassVar[dict[str, int]] = {}

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        root = Path(dl_manager.manual_dir)
        return {
            split: self._generate_examples(self.made_from(self.find(root, split)))
            for split in self.layouts
            if split == next(iter(self.layouts)) or self._present(root, split)
        }

    def _present(self, root: Path, split: str) -> bool:
        return any(_exists(root, layout) for layout in self.layouts[split])

    def find(self, root: Path, split: str) -> list[Path]:
        """Returns the images of a split.

        Raises:
            FileNotFoundError: If no layout is there; the message names them all.
            ValueError: If two images have the same stem.
        """
        for layout in self.layouts[split]:
            if _exists(root, layout):
                files = [path for folder in layout for path in list_images(root / folder)]
                check_unique_stems(files)
                self._report_count(split, len(files))
                return files
        tried = "; ".join(" + ".join(layout) for layout in self.layouts[split])
        raise FileNotFoundError(f"{root} has no images of {self.name}; put them into: {tried}")

    def _report_count(self, split: str, seen: int) -> None:
        expected = self.num_images.get(split, seen)
        if seen != expected:
            logging.warning(
                "%s/%s has %d images, the published set %d: figures will not compare",
                *(self.name, split, seen, expected),
            )


def _exists(root: Path, layout: Layout) -> bool:
    return all((root / folder).is_dir() for folder in layout)


class Kodak24(RestorationSet):
    """Kodak Lossless True Color Image Suite, 24 photographs."""

    HOMEPAGE = "https://r0k.us/graphics/kodak/"
    layouts: ClassVar[dict[str, tuple[Layout, ...]]] = {
        "test": (("Kodak24",), ("kodak24",), ("Kodak",), ("kodak",))
    }
    num_images: ClassVar[dict[str, int]] = {"test": 24}


class Mcmaster(RestorationSet):
    """McMaster, 18 colour images."""

    HOMEPAGE = "https://www4.comp.polyu.edu.hk/~cslzhang/CDM_Dataset.htm"
    layouts: ClassVar[dict[str, tuple[Layout, ...]]] = {
        "test": (("McMaster",), ("mcmaster",), ("McM",))
    }
    num_images: ClassVar[dict[str, int]] = {"test": 18}


class Cbsd68(RestorationSet):
    """The 68 colour images of the Berkeley Segmentation Data Set used for denoising."""

    HOMEPAGE = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/"
    layouts: ClassVar[dict[str, tuple[Layout, ...]]] = {
        "test": (("CBSD68/original_png",), ("CBSD68",), ("cbsd68",))
    }
    num_images: ClassVar[dict[str, int]] = {"test": 68}


class Set5(RestorationSet):
    """Five images, a super-resolution benchmark."""

    layouts: ClassVar[dict[str, tuple[Layout, ...]]] = {
        "test": (("Set5/HR",), ("set5/HR",), ("Set5/original",), ("Set5/GTmod12",), ("Set5",))
    }
    num_images: ClassVar[dict[str, int]] = {"test": 5}


class Bsd100(RestorationSet):
    """The 100 test images of BSD300, a super-resolution benchmark (B100)."""

    HOMEPAGE = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/"
    layouts: ClassVar[dict[str, tuple[Layout, ...]]] = {
        "test": (
            *(("BSD100/HR",), ("B100/HR",), ("BSD100/original",), ("B100/original",)),
            *(("BSDS100",), ("BSD100",), ("B100",)),
        )
    }
    num_images: ClassVar[dict[str, int]] = {"test": 100}


class Df2k(RestorationSet):
    """DIV2K (800 training images) and Flickr2K (2650): DF2K. Validation is that of DIV2K.

    Coding it while building would take days in one process: build compressed DF2K with
    `armoe-jax build-dataset` and read it with `compressed_pairs`.
    """

    HOMEPAGE = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"
    BUILDER_CONFIGS: ClassVar[list[PairConfig]] = [
        PairConfig(name="original", description="lq is gt: for degradation on the fly"),
        *bicubic_configs(),
    ]
    layouts: ClassVar[dict[str, tuple[Layout, ...]]] = {
        "train": (
            ("DIV2K/DIV2K_train_HR", "Flickr2K/Flickr2K_HR"),
            ("DIV2K_train_HR", "Flickr2K_HR"),
            ("DIV2K_train_HR", "Flickr2K/Flickr2K_HR"),
            ("DF2K/DF2K_HR",),
            ("DF2K_HR",),
            ("DF2K/HR",),
        ),
        "validation": (("DIV2K/DIV2K_valid_HR",), ("DIV2K_valid_HR",)),
    }
    num_images: ClassVar[dict[str, int]] = {"train": 3450, "validation": 100}
