"""TFDS builders that need no TensorFlow; importing this package registers them.

    import tensorflow_datasets as tfds
    from input_pipeline import datasets

    datasets.prepare("kodak24/vvc_qp27", data_dir="tfds", manual_dir="downloads")
    pairs = tfds.data_source("kodak24/vvc_qp27", data_dir="tfds", split="test")

Read them with `tfds.data_source`, `as_data_source` or `tfds.builder_from_directory` only: the other
ways of TFDS need TensorFlow.
"""

from input_pipeline.datasets.base import PairConfig, prepare
from input_pipeline.datasets.compressed_pairs import CompressedPairs
from input_pipeline.datasets.embedded_photos import EmbeddedPhotos
from input_pipeline.datasets.restoration_sets import Bsd100, Cbsd68, Df2k, Kodak24, Mcmaster, Set5

__all__ = [
    "Bsd100",
    "Cbsd68",
    "CompressedPairs",
    "Df2k",
    "EmbeddedPhotos",
    "Kodak24",
    "Mcmaster",
    "PairConfig",
    "Set5",
    "prepare",
]
