"""PNG and TIFF files through libvips: those of 16 bits a sample are read, all are written.

Pillow reduces 16-bit colour to 8 bits, and takes four times as long to write a PNG.
"""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pyvips
from PIL import Image, TiffImagePlugin

_INTERPRETATIONS = {"grey16": 1, "rgb16": 3}
"""What 16-bit samples that are read may mean -> channels of colour."""

_WRITTEN = {("uint8", True): "b-w", ("uint16", True): "grey16"}
_WRITTEN |= {("uint8", False): "srgb", ("uint16", False): "rgb16"}
_FORMATS = {"uint8": "uchar", "uint16": "ushort"}

_EXTRA_SAMPLES, _UNSPECIFIED = 338, (0,)  # tag of TIFF, and its value for "no alpha"
_BIG_TIFF = b"II+\0"
_TIFF_OF_PILLOW = (b"II*\0", b"MM\0*", _BIG_TIFF)
_HEADER_END = 33  # of a PNG: signature and IHDR chunk

pyvips.cache_set_max(0)  # results are used once; remembering them would only hold memory


def is_deep(data: bytes) -> bool:
    """Returns whether a TIFF or PNG file holds samples of more than 8 bits, from its header.

    Raises:
        ValueError: If the header is damaged.
    """
    return _open(data).format != "uchar"


def read_16_bits(data: bytes) -> tuple[np.ndarray, bytes | None, int]:
    """Reads a PNG or TIFF file of 16 bits a sample.

    White-is-zero is turned round, premultiplied colour is divided by its alpha, and a fourth
    sample that no reader can interpret is left out.

    Returns:
        Samples, uint16, (H, W) or (H, W, C) with C = 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha);
        the colour profile or None; the EXIF orientation, not yet applied.

    Raises:
        ValueError: If the file is damaged or too large, holds several pages, or if its samples are
            not 16-bit unsigned gray or RGB with at most one alpha channel.
    """
    image = _open(data)
    fields = image.get_fields()
    pages = image.get("n-pages") if "n-pages" in fields else 1
    if pages > 1:
        raise ValueError(f"holds {pages} pages, expected a still image")
    colors = _INTERPRETATIONS.get(image.interpretation)
    bits = image.get("bits-per-sample") if "bits-per-sample" in fields else 0
    if not colors or image.format != "ushort" or bits != 16 or image.bands > colors + 1:
        raise ValueError(
            f"{image.bands} samples of {bits} bits, {image.format}, {image.interpretation}: not "
            "supported; supported are 8 and 16 bits of unsigned gray or RGB, with or without alpha"
        )
    _check_size(image.width, image.height)
    profile = image.get("icc-profile-data") if "icc-profile-data" in fields else None
    orientation = image.get("orientation") if "orientation" in fields else 1
    if _extra_samples(data) == _UNSPECIFIED:
        image = image.extract_band(0, n=colors)
    try:
        return image.numpy(), profile, orientation
    except pyvips.Error as error:
        raise ValueError(f"the samples are damaged: {_first_line(error)}") from error


def encode_png(
    samples: np.ndarray, *, icc_profile: bytes | None = None, exif: bytes | None = None
) -> bytes:
    """Encodes a picture without loss.

    One fixed row filter makes files that are read a third faster than those of Pillow, which tries
    them all, and that are no larger; training reads them many times.

    Args:
        samples: uint8 or uint16; (H, W) or (H, W, C) with C = 1, 2 (gray, alpha), 3 or 4.
        icc_profile: Stored as it is.
        exif: Stored without the "Exif" prefix of JPEG files.
    """
    data = _as_image(samples).pngsave_buffer(compression=6, filter="sub", keep="none")
    chunks = b""
    if icc_profile:
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile))
    if exif:
        chunks += _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    return data[:_HEADER_END] + chunks + data[_HEADER_END:]


def encode_tiff(samples: np.ndarray, *, icc_profile: bytes | None = None) -> bytes:
    """Encodes a picture without loss, compressed with deflate; see `encode_png`."""
    image = _as_image(samples)
    if icc_profile:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc_profile)
    return image.tiffsave_buffer(compression="deflate", predictor="horizontal", keep="icc")


def _open(data: bytes) -> Any:  # a pyvips.Image, whose types say too little of its fields
    """Reads the header; samples are decoded when they are asked for."""
    try:
        return pyvips.Image.new_from_buffer(data, "", fail_on="error")
    except pyvips.Error as error:
        raise ValueError(_first_line(error)) from error


def _first_line(error: pyvips.Error) -> str:
    """Returns what the library says first, after pyvips's own heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[min(1, len(lines) - 1)] if lines else "damaged"


def _check_size(width: int, height: int) -> None:
    """Refuses, before anything is decoded, what Pillow refuses as a decompression bomb."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit and width * height > 2 * limit:
        raise ValueError(
            f"{width}x{height} pixels exceed the limit of {2 * limit} pixels, it could be a "
            "decompression bomb"
        )


def _extra_samples(data: bytes) -> tuple[int, ...] | None:
    """Returns what a TIFF says of its samples beyond the colours, where Pillow can read that."""
    if data[:4] not in _TIFF_OF_PILLOW:
        return None
    head = data[: 16 if data[:4] == _BIG_TIFF else 8]
    tags, file = TiffImagePlugin.ImageFileDirectory_v2(head), io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    return tags.get(_EXTRA_SAMPLES)


def _as_image(samples: np.ndarray) -> Any:
    planes = samples[..., None] if samples.ndim == 2 else samples
    height, width, bands = planes.shape
    kind, gray = planes.dtype.name, bands <= 2
    image = pyvips.Image.new_from_memory(
        np.ascontiguousarray(planes).data, width, height, bands, _FORMATS[kind]
    )
    return image.copy(interpretation=_WRITTEN[kind, gray])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
