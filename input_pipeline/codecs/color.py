"""RGB <-> 8-bit 4:2:0, by ffmpeg's scaler, as video encoders take and give pictures.

BT.601 coefficients, limited range. `clean` uses the scaler's accurate path both ways: the same
bytes on every CPU. `paper` uses its default path, which darkens the picture by about one level.
Chroma lies at the centre of its four pixels; `armoe_jax.video.color`, which restores videos, knows
other sitings as well.
"""

import numpy as np
from jaxtyping import UInt8

from input_pipeline.codecs import ffmpeg
from input_pipeline.codecs.base import RGB, CodecError

SCALER_FLAGS = {
    "clean": ("-sws_flags", "bicubic+accurate_rnd+full_chroma_int+bitexact"),
    "paper": (),
}


def pad_to_even(image: RGB) -> UInt8[np.ndarray, "even_h even_w 3"]:
    """Repeats the last row and column where height or width is odd."""
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return image
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def yuv420_size(height: int, width: int) -> int:
    """Returns the bytes of an 8-bit 4:2:0 picture with even sides."""
    return height * width * 3 // 2


def rgb_to_yuv420(image: RGB, colors: str) -> bytes:
    """Converts an RGB image to planar 4:2:0.

    Args:
        image: uint8 (H, W, 3), both sides even.
        colors: A key of `SCALER_FLAGS`.

    Returns:
        The planes Y, U, V, one after the other.
    """
    height, width = image.shape[:2]
    planes = ffmpeg.run(
        [
            *_raw_input("rgb24", height, width),
            *SCALER_FLAGS[colors],
            *("-f", "rawvideo", "-pix_fmt", "yuv420p", "pipe:1"),
        ],
        what="converting RGB to 4:2:0",
        stdin=np.ascontiguousarray(image).tobytes(),
    )
    return check_size(planes, yuv420_size(height, width), "converting RGB to 4:2:0")


def yuv420_to_rgb(planes: bytes, height: int, width: int, colors: str) -> RGB:
    """Converts planar 4:2:0 with even sides to an RGB image; the reverse of `rgb_to_yuv420`."""
    check_size(planes, yuv420_size(height, width), "converting 4:2:0 to RGB")
    samples = ffmpeg.run(
        [
            *_raw_input("yuv420p", height, width),
            *SCALER_FLAGS[colors],
            *("-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"),
        ],
        what="converting 4:2:0 to RGB",
        stdin=planes,
    )
    check_size(samples, height * width * 3, "converting 4:2:0 to RGB")
    return np.frombuffer(samples, np.uint8).reshape(height, width, 3)


def round_10_to_8_bit(planes: bytes) -> bytes:
    """Rounds little-endian 10-bit samples to 8 bits, half up, as the VVC reference decoder does."""
    samples = np.frombuffer(planes, "<u2")
    rounded: UInt8[np.ndarray, " n"] = np.minimum((samples + 2) >> 2, 255).astype(np.uint8)
    return rounded.tobytes()


def check_size(data: bytes, expected: int, what: str) -> bytes:
    """Returns `data`; raises CodecError unless it has the expected number of bytes."""
    if len(data) != expected:
        raise CodecError(f"{what}: got {len(data)} bytes, expected {expected}")
    return data


def _raw_input(pixel_format: str, height: int, width: int) -> tuple[str, ...]:
    size = f"{width}x{height}"
    return ("-f", "rawvideo", "-pix_fmt", pixel_format, "-s", size, "-i", "pipe:0")
