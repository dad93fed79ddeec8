"""The photographs inside scikit-image's wheel as a TFDS data set; nothing to download."""

# TFDS has no usable types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportMissingTypeStubs=false, reportUntypedBaseClass=false

from typing import ClassVar

import tensorflow_datasets as tfds

from input_pipeline.datasets.base import PairBuilder, PairConfig, bicubic_configs, coded_configs
from input_pipeline.embedded import embedded_images


class EmbeddedPhotos(PairBuilder):
    """Nine photographs of scikit-image; the splits train and test share no scene."""

    HOMEPAGE = "https://scikit-image.org"
    BUILDER_CONFIGS: ClassVar[list[PairConfig]] = [
        PairConfig(name="original", description="lq is gt: for degradation on the fly"),
        *bicubic_configs(),
        *coded_configs(),
    ]

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        return {
            "train": self._generate_examples(self.made_from(embedded_images("train"))),
            "test": self._generate_examples(self.made_from(embedded_images("eval"))),
        }
