"""PNG files of 16 bits a sample, with colour profile and EXIF.

Pillow writes 16-bit gray only, and OpenCV neither gray with alpha nor a colour profile.

Source: Portable Network Graphics specification, third edition (W3C, 2025).
"""

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Number of channels (gray, gray + alpha, RGB, RGBA) -> colour type of the header."""

_FILTER_SUB = 1


def encode_png16(
    pixels: np.ndarray, *, icc_profile: bytes | None = None, exif: bytes | None = None
) -> bytes:
    """Encodes a picture without loss.

    Args:
        pixels: uint16, (H, W) or (H, W, C): gray, gray + alpha, RGB, or RGBA.
        icc_profile: Stored in an iCCP chunk.
        exif: Stored in an eXIf chunk; the "Exif" prefix of JPEG files is left out.

    Raises:
        ValueError: If the array is not uint16 or its shape is not one of these.
    """
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    if planes.dtype != np.uint16 or planes.ndim != 3 or planes.shape[2] not in _COLOR_TYPES:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, expected uint16 (H, W[, 1-4])")
    height, width, channels = planes.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOR_TYPES[channels], 0, 0, 0)
    chunks = [_chunk(b"IHDR", header)]
    if icc_profile:
        chunks.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile)))
    if exif:
        chunks.append(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    chunks += [_chunk(b"IDAT", zlib.compress(_filtered_rows(planes))), _chunk(b"IEND", b"")]
    return SIGNATURE + b"".join(chunks)


def _filtered_rows(planes: np.ndarray) -> bytes:
    """Returns the rows as bytes, each sample byte less that of the pixel to its left."""
    height, width, channels = planes.shape
    rows = planes.astype(">u2").view(np.uint8).reshape(height, width, 2 * channels)
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    filters = np.full((height, 1), _FILTER_SUB, np.uint8)
    return np.hstack([filters, differences.reshape(height, -1)]).tobytes()


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
