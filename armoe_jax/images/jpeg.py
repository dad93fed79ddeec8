"""What a JPEG file tells beyond its pixels: quantiser, sampling, grid and luma coefficients.

Each luma coefficient lay, before coding, within half a step of `integer * step`. The interval is
the strongest knowledge there is of the picture that the file was made from.
"""

import dataclasses
import functools
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from armoe_jax.images.jpeg_coefficients import DCT, recover_luma, to_plane
from armoe_jax.images.jpeg_header import JpegHeader, UnusableError, parse_header

SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
"""What `encode_jpeg` can write."""

# Annex K of ITU-T T.81, which libjpeg scales by its quality.
_LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56
    14 17 22 29 51 87 80 62 18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92
    49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMA = (
    "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56" + 5 * " 99" + " 47 66" + 38 * " 99"
)


@dataclasses.dataclass(frozen=True)
class JpegNote:
    """Why a file gives no `JpegCoding`: "it is not a JPEG", "it has 12 bits a sample" and so on."""

    reason: str

    def __str__(self):
        return self.reason


@dataclasses.dataclass(frozen=True, eq=False)
class JpegCoding:
    """How the luma of an image was coded, in the image's own orientation.

    Frequencies and steps stand in natural order, (row, column), not in zigzag order.

    Attributes:
        size: Height and width of the image that this belongs to, in pixels.
        offset: Rows and columns of the first blocks, 0 to 7, that lie before the image: pixel (y,
            x) is pixel (y + offset[0], x + offset[1]) of the blocks. Zero but for images that were
            turned, or cut out of a JPEG.
        luma_table: Quantiser steps of luma, uint16 (8, 8).
        chroma_table: Quantiser steps of Cb (and, as good as always, Cr), or None for gray.
        subsampling: "4:2:0", "4:2:2", "4:4:4", "4:4:0", "4:1:1", "4:1:0", "other", or "gray"; as
            the file is stored, before any turn. "unknown" without a file.
        luma: The quantised coefficients, int16 (rows, columns, 8, 8), or what to expect of them,
            float32. Times `luma_table` and through the orthonormal inverse DCT they give luma minus
            128.
        certain: Whether all integers of a block are known to be the file's, (rows, columns). Others
            may be a step off; most of them are dark or bright flat blocks.
    """

    size: tuple[int, int]
    offset: tuple[int, int]
    luma_table: np.ndarray
    chroma_table: np.ndarray | None
    subsampling: str
    luma: np.ndarray
    certain: np.ndarray

    @property
    def has_libjpeg_tables(self) -> bool:
        """Whether the tables are those that libjpeg makes for some quality."""
        return _match(self) is not None

    @property
    def quality(self) -> int:
        """Quality as libjpeg counts it, 1 to 100: of these tables, or of about as large ones."""
        match = _match(self)
        if match is not None:
            return match
        sizes = np.log(libjpeg_tables()[:, 0].astype(float)).mean((1, 2))
        return 1 + int(np.abs(sizes - np.log(self.luma_table).mean()).argmin())

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows before and behind, columns before and behind, that make whole blocks of an image."""
        (top, left), (height, width) = self.offset, self.size
        rows, columns = self.luma.shape[:2]
        return (top, 8 * rows - top - height), (left, 8 * columns - left - width)

    @property
    def inside(self) -> np.ndarray:
        """Whether a block lies within the image as a whole, bool (rows, columns)."""
        rows, columns = self.luma.shape[:2]
        (top, bottom), (left, right) = self.padding
        inside = np.zeros((rows, columns), bool)
        inside[int(top > 0) : rows - (bottom > 0), int(left > 0) : columns - (right > 0)] = True
        return inside

    def describe(self) -> str:
        """Says in a few words what was read: "quality 35, 4:2:0, tables of libjpeg"."""
        if self.subsampling == "unknown":
            return f"quality {self.quality}"
        if self.has_libjpeg_tables:
            return f"quality {self.quality}, {self.subsampling}, tables of libjpeg"
        return f"quality about {self.quality}, {self.subsampling}, tables of its own"

    def decoded_luma(self) -> np.ndarray:
        """Returns what a decoder makes of the coefficients, without rounding and clipping.

        Returns:
            Luma of full-range BT.601 YCbCr minus 128, float32 of shape `size`.
        """
        (top, left), (height, width) = self.offset, self.size
        return self.block_luma()[top : top + height, left : left + width]

    def block_luma(self) -> np.ndarray:
        """Returns `decoded_luma` of all whole blocks: float32, with `padding` around the image."""
        values = self.luma.reshape(-1, 64) * self.luma_table.reshape(64).astype(np.float32)
        return to_plane(values @ DCT, self.luma.shape[:2])

    def turned(self, orientation: int) -> "JpegCoding":
        """Returns the coding of the image that an EXIF orientation, 1 to 8, asks for.

        The DCT of a mirrored block has the signs of its odd frequencies changed, that of a
        transposed block is transposed, so that nothing is lost. Unknown values count as 1.
        """
        coding = self
        if orientation in (5, 6, 7, 8):
            coding = coding._transposed()
        if orientation in (3, 4, 7, 8):
            coding = coding._mirrored(axis=0)
        if orientation in (2, 3, 6, 7):
            coding = coding._mirrored(axis=1)
        return coding

    def _transposed(self) -> "JpegCoding":
        return dataclasses.replace(
            self,
            size=self.size[::-1],
            offset=self.offset[::-1],
            luma_table=self.luma_table.T,
            chroma_table=None if self.chroma_table is None else self.chroma_table.T,
            luma=np.ascontiguousarray(self.luma.transpose(1, 0, 3, 2)),
            certain=self.certain.T,
        )

    def _mirrored(self, axis: int) -> "JpegCoding":
        signs = np.array([1, -1] * 4, np.int16)
        signs = signs[:, None] if axis == 0 else signs
        offset = tuple(pad[a == axis] for a, pad in enumerate(self.padding))
        return dataclasses.replace(
            self,
            offset=offset,
            luma=np.flip(self.luma, axis) * signs,
            certain=np.flip(self.certain, axis),
        )


def read_jpeg_coding(source: str | Path | bytes) -> JpegCoding | JpegNote:
    """Reads how a JPEG file codes its luma, for the upright image that `read_image` returns.

    Baseline, progressive and arithmetic-coded files are read, of any size and sampling, gray or Y,
    Cb, Cr; of MPO files the first picture. `jpeg_coefficients` tells how exactly.

    Args:
        source: A file, or its content.

    Returns:
        The coding; or a note why there is none, for files that are no JPEG, are damaged, or hold
        RGB, CMYK, 12 bits or unfinished progressive scans.

    Raises:
        OSError: If the file cannot be opened.
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        header = parse_header(data)
        coding = _coding_of(header)
        return coding.turned(_orientation(data)) if header.has_app1 else coding
    except UnusableError as error:
        return JpegNote(str(error))


def encode_jpeg(
    image: np.ndarray, *, quality: int, subsampling: str = "4:2:0"
) -> tuple[np.ndarray, JpegCoding]:
    """Codes and decodes an image, as though it had been read from a JPEG file.

    Args:
        image: uint8, (H, W) or (H, W, 1 or 3).
        quality: libjpeg's quality, 1 to 100.
        subsampling: One of SUBSAMPLINGS; of no account for gray.

    Returns:
        The decoded image and its coding.

    Raises:
        ValueError: If an argument is none of these.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}, expected 1 to 100")
    if subsampling not in SUBSAMPLINGS:
        raise ValueError(f"subsampling is {subsampling!r}, expected one of {SUBSAMPLINGS}")
    if image.dtype != np.uint8 or not (image.ndim == 2 or image.shape[2:] in ((1,), (3,))):
        raise ValueError(
            f"image is {image.dtype} {image.shape}, expected uint8 (H, W) or (H, W, 1 or 3)"
        )
    buffer = io.BytesIO()
    whole = Image.fromarray(image.squeeze(2) if image.shape[2:] == (1,) else image)
    whole.save(buffer, "JPEG", quality=int(quality), subsampling=subsampling)
    with Image.open(buffer, formats=("JPEG",)) as decoded:
        pixels = np.asarray(decoded).reshape(image.shape)
    return pixels, _coding_of(parse_header(buffer.getvalue()))


def _coding_of(header: JpegHeader) -> JpegCoding:
    luma, certain = recover_luma(header)
    return JpegCoding(
        size=(header.height, header.width),
        offset=(0, 0),
        luma_table=header.luma_table,
        chroma_table=header.chroma_table,
        subsampling=header.subsampling,
        luma=luma,
        certain=certain,
    )


def _orientation(data: bytes) -> int:
    """EXIF orientation as Pillow finds it, in XMP too, since Pillow turns the pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata
            with Image.open(io.BytesIO(data)) as image:
                return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # whatever damaged metadata make the parser stumble over
        raise UnusableError("its EXIF data are damaged") from error


def log2_step_of_quality(quality: float) -> float:
    """Returns log2 of the mean luma step at libjpeg's quality: about 8 at 1, 0 at 100."""
    means = libjpeg_tables()[:, 0].mean((1, 2))
    return float(np.interp(quality, np.arange(1, 101), np.log2(means)))


def _match(coding: JpegCoding) -> int | None:
    """The quality for which libjpeg makes these tables; they may be those of a turned file."""
    # Some encoders let steps pass a byte where others cut them.
    luma = np.minimum(coding.luma_table, 255)
    chroma = None if coding.chroma_table is None else np.minimum(coding.chroma_table, 255)
    for tables in (libjpeg_tables(), libjpeg_tables().swapaxes(2, 3)):
        same = (tables[:, 0] == luma).all((1, 2))
        if chroma is not None:
            same &= (tables[:, 1] == chroma).all((1, 2))
        if same.any():
            return 1 + int(same.argmax())
    return None


@functools.cache
def libjpeg_tables() -> np.ndarray:
    """Luma and chroma tables of quality 1 to 100, (100, 2, 8, 8)."""
    base = np.array([_LUMA.split(), _CHROMA.split()], int).reshape(1, 2, 8, 8)
    quality = np.arange(1, 101).reshape(100, 1, 1, 1)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.clip((base * scale + 50) // 100, 1, 255)
