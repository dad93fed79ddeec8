"""Planar YUV pictures and their raw files: headerless `.yuv` and YUV4MPEG2 `.y4m`.

NumPy only: PyAV drops the last frame of a file that is cut short without a word, and up to release
18 neither tells nor writes where chroma lies. A frame is a tuple of planes, (Y,) or (Y, U, V),
uint8 at 8 bits and uint16 (values in the low bits) above; chroma sides are the luma sides divided
by the subsampling, rounded up.
"""

import dataclasses
import itertools
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

Planes = tuple[NDArray[np.uint8] | NDArray[np.uint16], ...]

BIT_DEPTHS = (8, 9, 10, 12, 14, 16)
MAX_SIDE = 32768  # a y4m header is untrusted text: larger sides are taken for damage

_SUBSAMPLING = {"400": None, "420": (1, 1), "422": (1, 0), "444": (0, 0)}
_PIXEL_FORMAT_NAMES = {"400": "gray", "420": "yuv420p", "422": "yuv422p", "444": "yuv444p"}
_Y4M_SITING = {"420jpeg": "center", "420mpeg2": "left", "420paldv": "topleft"}
_Y4M_MAX_LINE = 512


@dataclasses.dataclass(frozen=True)
class YuvFormat:
    """Size, chroma sampling and bit depth of a picture.

    Attributes:
        width: Luma columns, pixels.
        height: Luma rows, pixels.
        chroma: "400" (gray), "420", "422" or "444".
        bits: Bits per sample, one of `BIT_DEPTHS`.

    Raises:
        ValueError: If a field is outside what is allowed.
    """

    width: int
    height: int
    chroma: str = "420"
    bits: int = 8

    def __post_init__(self) -> None:
        if self.chroma not in _SUBSAMPLING:
            raise ValueError(f"chroma {self.chroma!r} is not one of {sorted(_SUBSAMPLING)}")
        if self.bits not in BIT_DEPTHS:
            raise ValueError(f"{self.bits} bits per sample; allowed: {BIT_DEPTHS}")
        if not (0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE):
            raise ValueError(
                f"picture size {self.width}x{self.height}; sides must be 1 to {MAX_SIDE} pixels"
            )

    @property
    def dtype(self) -> np.dtype:
        """Sample type in memory and, little-endian, in a file."""
        return np.dtype(np.uint8) if self.bits == 8 else np.dtype("<u2")

    @property
    def plane_shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of each plane."""
        luma = (self.height, self.width)
        subsampling = _SUBSAMPLING[self.chroma]
        if subsampling is None:
            return (luma,)
        log2_w, log2_h = subsampling
        chroma = (-(-self.height >> log2_h), -(-self.width >> log2_w))
        return (luma, chroma, chroma)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame in a raw file."""
        return sum(rows * columns for rows, columns in self.plane_shapes) * self.dtype.itemsize

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name, for example "yuv420p10le"."""
        name = _PIXEL_FORMAT_NAMES[self.chroma]
        return name if self.bits == 8 else f"{name}{self.bits}le"


class VideoHeader(NamedTuple):
    """What a raw file, or the caller for it, says about a sequence.

    Attributes:
        format: Picture format.
        rate: Frames per second.
        siting: Chroma position: "left", "center", "topleft", or None if not stated.
        full_range: True for full range, False for limited, None if not stated.
        pixel_aspect: Width of a pixel over its height, or None.
    """

    format: YuvFormat
    rate: Fraction
    siting: str | None = None
    full_range: bool | None = None
    pixel_aspect: Fraction | None = None


def parse_yuv_format(name: str, width: int, height: int) -> YuvFormat:
    """Reads a pixel format name such as "yuv420p", "yuv422p10le", "gray" or "420p10".

    Args:
        name: FFmpeg's name of a planar format, with or without "yuv" and "le".
        width: Pixels.
        height: Pixels.

    Raises:
        ValueError: If the name is none of the planar formats of this module.
    """
    wanted = name.removesuffix("le").removeprefix("yuv")
    for chroma, bits in itertools.product(_SUBSAMPLING, BIT_DEPTHS):
        fmt = YuvFormat(width, height, chroma, bits)
        if wanted == fmt.pixel_format.removesuffix("le").removeprefix("yuv"):
            return fmt
    allowed = "gray, yuv420p, yuv422p, yuv444p, each also with 9le, 10le, 12le, 14le or 16le"
    raise ValueError(f"pixel format {name!r} is not a planar format known here ({allowed})")


def frame_to_bytes(planes: Planes, fmt: YuvFormat) -> bytes:
    """Returns a frame as it stands in a raw file.

    Raises:
        ValueError: If the planes' shapes are not those of `fmt`.
    """
    _check_planes(planes, fmt)
    return b"".join(np.ascontiguousarray(plane, dtype=fmt.dtype).tobytes() for plane in planes)


def frame_from_bytes(data: bytes, fmt: YuvFormat) -> Planes:
    """Cuts the bytes of one raw frame into planes.

    Raises:
        ValueError: If the number of bytes is not that of one frame.
    """
    if len(data) != fmt.frame_bytes:
        raise ValueError(
            f"{len(data)} bytes; a {fmt.width}x{fmt.height} {fmt.pixel_format} frame has "
            f"{fmt.frame_bytes}"
        )
    samples = np.frombuffer(data, dtype=fmt.dtype)
    planes, start = [], 0
    for rows, columns in fmt.plane_shapes:
        planes.append(samples[start : start + rows * columns].reshape(rows, columns))
        start += rows * columns
    return tuple(planes)


def read_yuv(path: str | os.PathLike, fmt: YuvFormat) -> Iterator[Planes]:
    """Reads a headerless file frame by frame.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty or its size is not a whole number of frames (checked
            before the first frame is given out).
    """
    size = Path(path).stat().st_size
    if size == 0 or size % fmt.frame_bytes:
        raise ValueError(
            f"{path}: {size} bytes are not a whole number of {fmt.width}x{fmt.height} "
            f"{fmt.pixel_format} frames of {fmt.frame_bytes} bytes; check the size and format given"
        )
    return _frames_of_yuv(Path(path), fmt)


def _frames_of_yuv(path: Path, fmt: YuvFormat) -> Iterator[Planes]:
    with path.open("rb") as file:
        while data := file.read(fmt.frame_bytes):
            yield frame_from_bytes(data, fmt)


def read_y4m_header(path: str | os.PathLike) -> VideoHeader:
    """Reads the first line of a YUV4MPEG2 file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a progressive YUV4MPEG2 file of a known sampling.
    """
    with Path(path).open("rb") as file:
        return _y4m_header(file, str(path))


def read_y4m(path: str | os.PathLike) -> Iterator[Planes]:
    """Reads a YUV4MPEG2 file frame by frame.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the header is not understood, or (while reading) the file ends inside a
            frame.
    """
    header = read_y4m_header(path)
    return _frames_of_y4m(Path(path), header.format)


def _frames_of_y4m(path: Path, fmt: YuvFormat) -> Iterator[Planes]:
    with path.open("rb") as file:
        _y4m_header(file, str(path))
        number = 0
        while line := file.readline(_Y4M_MAX_LINE):
            if line.split(b" ")[0].strip() != b"FRAME" or not line.endswith(b"\n"):
                raise ValueError(f"{path}: frame {number} does not begin with a FRAME line")
            data = file.read(fmt.frame_bytes)
            if len(data) != fmt.frame_bytes:
                raise ValueError(
                    f"{path}: frame {number} is cut short ({len(data)} of {fmt.frame_bytes} bytes)"
                )
            yield frame_from_bytes(data, fmt)
            number += 1


def _y4m_header(file: BinaryIO, name: str) -> VideoHeader:
    line = file.readline(_Y4M_MAX_LINE)
    if not line.startswith(b"YUV4MPEG2 ") or not line.endswith(b"\n"):
        raise ValueError(f"{name}: not a YUV4MPEG2 file (its first line says otherwise)")
    fields: dict[str, str] = {}
    for word in line.decode("ascii", "replace").split()[1:]:
        key = "XCOLORRANGE" if word.startswith("XCOLORRANGE=") else word[0]
        if key not in fields and key != "X":
            fields[key] = word.split("=", 1)[1] if key == "XCOLORRANGE" else word[1:]
    if fields.get("I", "p") not in {"p", "?"}:
        raise ValueError(f"{name}: interlaced ({fields['I']!r}); deinterlace it first")
    try:
        width, height = int(fields["W"]), int(fields["H"])
        rate = _ratio(fields.get("F", "25:1"))
        fmt, siting = _y4m_sampling(fields.get("C", "420jpeg"), width, height)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{name}: bad YUV4MPEG2 header {line!r}: {error}") from error
    if rate <= 0:
        raise ValueError(f"{name}: frame rate {rate} in the YUV4MPEG2 header is not positive")
    aspect = fields.get("A", "0:0")
    full = {"FULL": True, "LIMITED": False}.get(fields.get("XCOLORRANGE", ""))
    pixel_aspect = None if aspect.startswith("0:") or aspect.endswith(":0") else _ratio(aspect)
    return VideoHeader(fmt, rate, siting, full, pixel_aspect)


def _ratio(text: str) -> Fraction:
    numerator, denominator = text.split(":")
    return Fraction(int(numerator), int(denominator))


def _y4m_sampling(word: str, width: int, height: int) -> tuple[YuvFormat, str | None]:
    """Reads the C field: "420jpeg", "422", "420p10", "mono", "mono10" and so on."""
    word = "420jpeg" if word == "420" else word
    if word in _Y4M_SITING:
        return YuvFormat(width, height, "420", 8), _Y4M_SITING[word]
    word = word.replace("mono", "400")
    chroma, bits = word[:3], word[3:].removeprefix("p")
    return YuvFormat(width, height, chroma, int(bits) if bits else 8), None


class _RawWriter:
    """Writes raw frames to a file; used as a context manager."""

    _before_frame = b""

    def __init__(self, path: str | os.PathLike, header: VideoHeader):
        self.header = header
        self._file = Path(path).open("wb")  # noqa: SIM115 (closed by `close`)

    def write(self, planes: Planes) -> None:
        """Appends a frame.

        Raises:
            ValueError: If the planes' shapes are not those of the header.
        """
        data = frame_to_bytes(planes, self.header.format)
        self._file.write(self._before_frame + data)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class YuvWriter(_RawWriter):
    """Writes a headerless `.yuv` file: only the samples, planar, little-endian."""


class Y4mWriter(_RawWriter):
    """Writes a YUV4MPEG2 file with frame rate, chroma sampling, pixel aspect and range."""

    _before_frame = b"FRAME\n"

    def __init__(self, path: str | os.PathLike, header: VideoHeader):
        super().__init__(path, header)
        self._file.write(y4m_header_line(header))


def y4m_header_line(header: VideoHeader) -> bytes:
    """Returns the first line of a YUV4MPEG2 file."""
    fmt, rate = header.format, header.rate
    sampling = "mono" if fmt.chroma == "400" else fmt.chroma
    if fmt.bits > 8:
        sampling += str(fmt.bits) if fmt.chroma == "400" else f"p{fmt.bits}"
    elif fmt.chroma == "420":
        siting = header.siting or "left"
        sampling = {site: word for word, site in _Y4M_SITING.items()}[siting]
    words = [
        f"YUV4MPEG2 W{fmt.width} H{fmt.height} F{rate.numerator}:{rate.denominator} Ip",
        "A{}:{}".format(*(header.pixel_aspect or Fraction(1)).as_integer_ratio()),
        f"C{sampling}",
    ]
    if header.full_range is not None:
        words.append("XCOLORRANGE=" + ("FULL" if header.full_range else "LIMITED"))
    return (" ".join(words) + "\n").encode("ascii")


def _check_planes(planes: Planes, fmt: YuvFormat) -> None:
    shapes = tuple(plane.shape for plane in planes)
    if shapes != fmt.plane_shapes:
        raise ValueError(f"plane shapes {shapes} are not those of {fmt}: {fmt.plane_shapes}")
