"""What all builders share: features, configs, and building without TensorFlow.

Images are handed over as encoded PNG (as paths or file objects): encoding arrays would call
TensorFlow, and so the stored bytes are exact. Files are ArrayRecord. No bucket is looked up.
"""

# TFDS has no usable types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingTypeStubs=false, reportUntypedBaseClass=false

import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils import gcs_utils

from input_pipeline.codecs import CODECS, CodecOptions, get_codec
from input_pipeline.codecs.base import RGB
from input_pipeline.image_files import encode_png, read_rgb
from input_pipeline.transforms import reduce_bicubic

gcs_utils._is_gcs_disabled = True  # pyright: ignore[reportPrivateUsage]

QUALITIES: dict[str, tuple[int, ...]] = {
    "vvc": (17, 22, 27, 32, 37, 42),
    "vtm": (22, 27, 32, 37),
    "hevc": (22, 27, 32, 37),
    "avc": (22, 27, 32, 37),
    "av1": (20, 30, 40, 50),
    "jpeg": (10, 20, 30, 40, 50, 60, 70, 80, 90),
}
"""Qualities that have a ready-made config; others: `coded_config`."""

SCALES = (2, 3, 4)

KeyedExample = tuple[str, dict[str, Any]]

_RGB_PNG = b"\x89PNG\r\n\x1a\n"


@dataclasses.dataclass
class PairConfig(tfds.core.BuilderConfig):
    """What `lq` is.

    Attributes:
        codec: Key of the table `CODECS`; empty if nothing is coded.
        qp: Quality for the codec; -1 without one.
        scale: Above 1, `lq` is the bicubic reduction of `gt`.
        colors: Colour conversion around the codec.
        preset: Speed preset; empty for the codec's default.
    """

    codec: str = ""
    qp: int = -1
    scale: int = 1
    colors: str = "clean"
    preset: str = ""


def coded_config(codec: str, qp: int, *, colors: str = "clean", preset: str = "") -> PairConfig:
    """Returns the config of a codec at a quality, such as "vvc_qp27" or "vvc_qp27_paper"."""
    name = f"{codec}_{CODECS[codec].quality_name}{qp}"
    name += "" if colors == "clean" else f"_{colors}"
    name += f"_{preset}" if preset else ""
    return PairConfig(name=name, codec=codec, qp=qp, colors=colors, preset=preset)


def coded_configs() -> list[PairConfig]:
    """Returns the ready-made configs of all codecs."""
    clean = [coded_config(codec, qp) for codec, values in QUALITIES.items() for qp in values]
    paper = [coded_config("vvc", qp, colors="paper") for qp in (22, 27, 32, 37)]
    return clean + paper


def bicubic_configs() -> list[PairConfig]:
    """Returns the configs for super-resolution, "bicubic_x2" and so on."""
    return [PairConfig(name=f"bicubic_x{scale}", scale=scale) for scale in SCALES]


class PairBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of the builders: examples have name, lq, gt, qp and codec."""

    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION: ClassVar[str] = ""
    HOMEPAGE: ClassVar[str] = ""
    CITATION: ClassVar[str] = ""

    def __init__(self, *, file_format: str = "array_record", **kwargs: Any) -> None:
        super().__init__(file_format=file_format, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION or type(self).__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "name": tfds.features.Text(),
                    "lq": image,
                    "gt": image,
                    "qp": np.int32,
                    "codec": tfds.features.Text(),
                }
            ),
            homepage=self.HOMEPAGE or None,
            citation=self.CITATION or None,
        )

    @property
    def pair_config(self) -> PairConfig:
        """The config chosen."""
        return cast(PairConfig, self.builder_config)

    def _generate_examples(self, examples: Iterator[KeyedExample]) -> Iterator[KeyedExample]:
        return examples

    def made_from(self, files: Sequence[Path]) -> Iterator[KeyedExample]:
        """Yields pairs made from originals as the config says."""
        config = self.pair_config
        for path in files:
            gt = read_rgb(path)
            if config.scale > 1:
                gt, lq = reduce_bicubic(gt, config.scale)
                gt_file, lq_file = png_file(gt), png_file(lq)
            else:
                gt_file, lq_file = png_or_path(path, gt), png_file(degrade(gt, config))
            example = {"name": path.stem, "lq": lq_file, "gt": gt_file}
            yield path.stem, {**example, "qp": config.qp, "codec": config.codec}


def degrade(gt: RGB, config: PairConfig) -> RGB:
    """Returns the image after the config's codec, or itself without one."""
    if not config.codec:
        return gt
    options = CodecOptions(colors=config.colors, preset=config.preset)
    return get_codec(config.codec, options).code(gt, config.qp).image


def png_file(image: RGB) -> io.BytesIO:
    """Returns an image as an encoded file object."""
    return io.BytesIO(encode_png(image))


def png_or_path(path: Path, image: RGB) -> io.BytesIO | str:
    """Returns the path of a file that is an 8-bit RGB PNG already, else the image encoded anew."""
    with open(path, "rb") as file:
        head = file.read(26)
    # Of the header chunk: 8 bits a sample, colour type 2 (RGB).
    return str(path) if head[:8] == _RGB_PNG and head[24:26] == b"\x08\x02" else png_file(image)


def prepare(
    builder: str | tfds.core.DatasetBuilder,
    *,
    data_dir: str | Path | None = None,
    manual_dir: str | Path | None = None,
) -> tfds.core.DatasetBuilder:
    """Builds a data set if it is not there yet.

    Args:
        builder: "name/config", or a builder object.
        data_dir: Where prepared data sets are kept (with a builder's name).
        manual_dir: Where the images are.

    Returns:
        The builder; read it with `as_data_source`.

    Raises:
        FileNotFoundError: If `manual_dir` or the images in it are missing.
    """
    if manual_dir is not None and not (
        Path(manual_dir).is_dir() and any(Path(manual_dir).iterdir())
    ):
        raise FileNotFoundError(f"manual_dir {manual_dir} is not a folder, or is empty")
    if isinstance(builder, str):
        builder = tfds.builder(builder, data_dir=None if data_dir is None else str(data_dir))
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(
            manual_dir=None if manual_dir is None else str(manual_dir), try_download_gcs=False
        )
    )
    return builder
