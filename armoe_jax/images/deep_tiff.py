"""TIFF files of 16 bits a sample, in the arrangements that OpenCV mixes up or does not know.

Pillow reduces 16-bit colour to 8 bits; OpenCV interleaves separate planes wrongly, leaves
white-is-zero and premultiplied files as they are, and reads no gray with alpha. tifffile tells the
arrangement and reads what is stored plainly or with deflate; OpenCV reads the other compressions of
the plain arrangements.
"""

import dataclasses
import io

import numpy as np
import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG

_PLAIN = (COMPRESSION.NONE, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE)
_ALPHA = (EXTRASAMPLE.UNASSALPHA, EXTRASAMPLE.ASSOCALPHA)
_GRAY = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
_ICC_PROFILE, _ORIENTATION = 34675, 274
_PEAK = 65535


@dataclasses.dataclass(frozen=True, eq=False)
class DeepTiff:
    """What a 16-bit TIFF holds.

    Attributes:
        color: uint16, (H, W) gray or (H, W, 3) RGB; not premultiplied, black is zero.
        alpha: Opacity, uint16, (H, W), or None.
        icc_profile: The colour profile as stored, or None.
        orientation: Of EXIF, 1 to 8.
    """

    color: np.ndarray
    alpha: np.ndarray | None
    icc_profile: bytes | None
    orientation: int


def bits_per_sample(data: bytes) -> int:
    """Returns the bits of a sample of a TIFF file's first page.

    Raises:
        ValueError: If there is no such page.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return _first_page(file).bitspersample


def read_deep_tiff(data: bytes) -> DeepTiff:
    """Reads a TIFF of one page with 16 bits a sample.

    Raises:
        ValueError: If it holds several pages, is damaged, or its samples are not 16-bit unsigned
            gray or RGB with at most one alpha channel.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        if len(file.pages) > 1:
            raise ValueError(f"holds {len(file.pages)} pages, expected a still image")
        page = _first_page(file)
        _check(page)
        planes = _samples(page, data)
        tags = page.tags
        profile, orientation = tags.valueof(_ICC_PROFILE), tags.valueof(_ORIENTATION, default=1)
    gray = page.photometric in _GRAY
    color = planes[..., 0] if gray else planes[..., :3]
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        color = _PEAK - color
    alpha = planes[..., -1] if set(page.extrasamples) & set(_ALPHA) else None
    if EXTRASAMPLE.ASSOCALPHA in page.extrasamples:
        color = _divided(color, planes[..., -1])
    return DeepTiff(color, alpha, profile, int(orientation))


def encode_deep_tiff(
    color: np.ndarray, *, alpha: np.ndarray | None = None, icc_profile: bytes | None = None
) -> bytes:
    """Encodes a picture without loss.

    Args:
        color: uint16, (H, W) or (H, W, 3).
        alpha: uint16, (H, W).
        icc_profile: Stored in the file.
    """
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        color if alpha is None else np.dstack([color, alpha]),
        photometric="rgb" if color.ndim == 3 else "minisblack",
        planarconfig="contig" if color.ndim == 3 or alpha is not None else None,
        extrasamples=None if alpha is None else ["unassalpha"],
        compression="zlib",
        iccprofile=icc_profile,
    )
    return buffer.getvalue()


def _first_page(file: tifffile.TiffFile) -> tifffile.TiffPage:
    if not len(file.pages):
        raise ValueError("there is no page, the file is damaged")
    return file.pages.first


def _check(page: tifffile.TiffPage) -> None:
    expected = 1 if page.photometric in _GRAY else 3
    extra = page.samplesperpixel - expected
    if (
        page.dtype != np.uint16
        or page.photometric not in (*_GRAY, PHOTOMETRIC.RGB)
        or page.bitspersample != 16
        or extra not in (0, 1)
        or page.imagedepth > 1
    ):
        raise ValueError(
            f"{page.samplesperpixel} samples of {page.bitspersample} bits, {page.dtype}, "
            f"{getattr(page.photometric, 'name', page.photometric)}: not supported; supported are "
            "8 and 16 bits of unsigned gray or RGB, with or without alpha"
        )


def _samples(page: tifffile.TiffPage, data: bytes) -> np.ndarray:
    """Returns the samples as they are stored, (H, W, samples)."""
    height, width = page.imagelength, page.imagewidth
    if page.compression in _PLAIN:
        try:
            planes = np.asarray(page.asarray())
        except RuntimeError as error:  # of imagecodecs, which tifffile uses where it is installed
            raise ValueError(f"the samples are damaged: {error}") from error
        if page.planarconfig == PLANARCONFIG.SEPARATE and page.samplesperpixel > 1:
            planes = np.moveaxis(planes.reshape(page.samplesperpixel, height, width), 0, -1)
        return planes.reshape(height, width, page.samplesperpixel)
    planes = None
    if page.planarconfig != PLANARCONFIG.SEPARATE and page.samplesperpixel in (1, 3, 4):
        import cv2

        planes = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if planes is None or planes.dtype != np.uint16:
        name = getattr(page.compression, "name", page.compression)
        raise ValueError(
            f"compression {name} of this arrangement is not supported, or the file is damaged; "
            "store it uncompressed or with deflate"
        )
    planes = planes.reshape(height, width, -1)
    return planes[..., [2, 1, 0, 3][: planes.shape[2]]] if planes.shape[2] > 1 else planes


def _divided(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Undoes premultiplication by alpha."""
    opacity = np.maximum(alpha, 1).astype(np.float64) / _PEAK
    opacity = opacity[..., None] if color.ndim == 3 else opacity
    return np.minimum(np.rint(color / opacity), _PEAK).astype(np.uint16)
