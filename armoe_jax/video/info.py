"""What is known about a video: format, colours, timing; and which tags its output carries."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from armoe_jax.images.jpeg import JpegCoding
from armoe_jax.video import yuv
from armoe_jax.video.color import ColorSpec
from armoe_jax.video.options import VideoOptions

DEFAULT_RATE = Fraction(25)
_LINES_OF_HD = 720
UNSPECIFIED = 2
_MATRIX_OF_TAG = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
_TAG_OF_MATRIX = {"bt709": 1, "fcc": 4, "bt601": 6, "smpte240m": 7, "bt2020": 9}
_RANGE_OF_TAG = {1: False, 2: True}


@dataclasses.dataclass(frozen=True)
class ColorTags:
    """Code points of ITU-T H.273 as the file has them (2, for the range 0: not stated)."""

    matrix: int = UNSPECIFIED
    range: int = 0
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED


@dataclasses.dataclass(frozen=True)
class SourceInfo:
    """What is known about a video once its first frame is decoded.

    Attributes:
        codec: Name of the codec, "rawvideo" for .y4m and .yuv.
        format: Picture format; RGB sources are presented as 4:4:4.
        color: How its samples stand for colours, tags, options and assumptions combined.
        tags: The tags alone, for the output.
        rate: Frames per second (of a variable rate, the average).
        time_base: Unit of `Picture.pts` in seconds.
        num_frames: Frames announced, 0 if unknown.
        pixel_aspect: Width of a pixel over its height, or None.
        rotation: Degrees by which a player turns the picture.
        is_rgb: Whether the samples are RGB, not YUV.
        grid_rate: Of a variable rate, the even rate at which all frames lie, if it is at most twice
            as high; else, and if None is given, `rate`.
    """

    codec: str
    format: yuv.YuvFormat
    color: ColorSpec
    tags: ColorTags
    rate: Fraction
    time_base: Fraction
    num_frames: int = 0
    pixel_aspect: Fraction | None = None
    rotation: int = 0
    is_rgb: bool = False
    grid_rate: Fraction | None = None

    def __post_init__(self) -> None:
        if self.grid_rate is None or not self.rate <= self.grid_rate <= 2 * self.rate:
            object.__setattr__(self, "grid_rate", self.rate)


@dataclasses.dataclass
class Picture:
    """A frame.

    Attributes:
        rgb: RGB (or gray) of 16 bits.
        pts: Its time in units of the source's time base.
        duration: In the same units.
        coding: How a frame of Motion JPEG was coded, if that was asked for and is certain.
    """

    rgb: UInt16[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w"]
    pts: int
    duration: int
    coding: JpegCoding | None = None


def color_spec(
    path: Path, tags: ColorTags, height: int, siting: str, options: VideoOptions
) -> ColorSpec:
    """Combines tags, assumptions and overrides.

    Args:
        path: Named in errors.
        tags: The file's tags; without a matrix it is bt709 from 720 lines on, else bt601.
        height: Lines of the picture.
        siting: Chroma position stated or assumed.
        options: Overrides.

    Raises:
        ValueError: If the tagged matrix is not supported and not overridden.
    """
    matrix = options.color_matrix or _MATRIX_OF_TAG.get(tags.matrix)
    if matrix is None:
        if tags.matrix not in (0, UNSPECIFIED, 3):
            raise ValueError(
                f"{path}: colour matrix {tags.matrix} of ITU-T H.273 is not supported "
                f"(supported: {sorted(_MATRIX_OF_TAG)}); override it with --color-matrix"
            )
        matrix = "bt709" if height >= _LINES_OF_HD else "bt601"
    full_range = _RANGE_OF_TAG.get(tags.range, False)
    if options.color_range:
        full_range = options.color_range == "full"
    return ColorSpec(matrix, full_range, options.chroma_siting or siting)


def output_tags(info: SourceInfo, options: VideoOptions, *, resized: bool) -> ColorTags:
    """Returns the tags of the output: the input's, made explicit where they would mislead.

    Args:
        info: The input.
        options: Overrides, which become tags.
        resized: Whether the output has another size, so that a player's guess may change.
    """
    tags = info.tags
    if tags.matrix not in _MATRIX_OF_TAG and (resized or options.color_matrix or info.is_rgb):
        tags = dataclasses.replace(tags, matrix=_TAG_OF_MATRIX[info.color.matrix])
    elif options.color_matrix:
        tags = dataclasses.replace(tags, matrix=_TAG_OF_MATRIX[options.color_matrix])
    if options.color_range or info.is_rgb:
        tags = dataclasses.replace(tags, range=1 + info.color.full_range)
    return tags
