"""The markers of a JPEG file: tables, sampling, scans, and the same scans under other tables.

Source: ITU-T T.81, annex B (markers) and G (progressive scans); the rules by which a decoder takes
three components for YCbCr or RGB are libjpeg's.
"""

import dataclasses
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SIGNATURE = b"\xff\xd8\xff"
"""What a JPEG file begins with."""

# Position in a marker segment -> row * 8 + column.
_DIAGONALS = sorted(
    ((row, column) for row in range(8) for column in range(8)),
    key=lambda rc: (sum(rc), rc[0] if sum(rc) % 2 else rc[1]),
)
ZIGZAG = np.array([8 * row + column for row, column in _DIAGONALS])
ZIGZAG.setflags(write=False)

_SOI, _EOI, _SOS, _DQT, _DNL = 0xD8, 0xD9, 0xDA, 0xDB, 0xDC
_APP0, _APP1, _APP14, _APP15, _COM = 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_LEFT_OUT = {_DQT, _COM, *range(_APP0 + 1, _APP15 + 1)} - {_APP14}
_BARE = {0x01, *range(0xD0, 0xD8)}  # markers without a segment: TEM and RST
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_KNOWN_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_PROGRESSIVE = {0xC2, 0xCA}
_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_MARKER_IN_SCAN = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_NAMES = {
    (1, 1): "4:4:4",
    (2, 1): "4:2:2",
    (2, 2): "4:2:0",
    (1, 2): "4:4:0",
    (4, 1): "4:1:1",
    (4, 2): "4:1:0",
}


class UnusableError(ValueError):
    """A JPEG whose luma coefficients cannot be had; the message says why."""


@dataclasses.dataclass(frozen=True, eq=False)
class JpegHeader:
    """What stands outside the entropy-coded data.

    Attributes:
        height: Rows of pixels as stored, before any EXIF rotation.
        width: Columns of pixels as stored.
        luma_table: Steps of the luma quantiser, uint16 (8, 8), row and column of the frequency.
        chroma_table: The same for Cb, or None for a gray image.
        subsampling: "4:2:0" and so on, or "gray".
        has_app1: Whether there may be EXIF or XMP data.
    """

    height: int
    width: int
    luma_table: np.ndarray
    chroma_table: np.ndarray | None
    subsampling: str
    has_app1: bool
    _slots: frozenset[int]
    _scans: bytes = dataclasses.field(repr=False)

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of luma blocks."""
        return -(-self.height // 8), -(-self.width // 8)

    def with_steps(self, steps: np.ndarray) -> bytes:
        """Returns a JPEG of the same integers, all tables replaced, and of whole luma blocks.

        Args:
            steps: (8, 8) integers from 0 to 65535.
        """
        table = steps.reshape(64)[ZIGZAG].astype(">u2").tobytes()
        tables = b"".join(bytes([0x10 | slot]) + table for slot in self._slots)
        return b"\xff\xd8" + _segment(_DQT, tables) + self._scans


def is_jpeg(path: str | Path) -> bool:
    """Returns whether a file begins as a JPEG does.

    Raises:
        OSError: If it cannot be read.
    """
    with open(path, "rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def parse_header(data: bytes) -> JpegHeader:
    """Reads the markers of a JPEG file.

    Raises:
        UnusableError: If it is no JPEG, is damaged, or is of a kind without luma coefficients of 8
            bits: RGB, CMYK, 12 bits, lossless, hierarchical, or with unfinished scans.
    """
    if not data.startswith(SIGNATURE):
        raise UnusableError("it is not a JPEG")
    try:
        return _Parser().parse(data)
    except (struct.error, IndexError) as error:
        raise UnusableError("its header is damaged") from error


@dataclasses.dataclass
class _Component:
    number: int
    sampling: tuple[int, int]  # horizontal, vertical
    slot: int
    table: np.ndarray | None = None  # as in force at the component's first scan


class _Parser:
    """State while the markers go by."""

    def __init__(self):
        self.frame: tuple[int, bytes] | None = None
        self.components: list[_Component] = []
        self.tables: dict[int, np.ndarray] = {}
        self.jfif = self.has_app1 = False
        self.adobe: int | None = None
        # Bits that scans have still left open, by position in zigzag order.
        self.open_bits = np.full(64, 255)
        self.kept: list[bytes] = []

    def parse(self, data: bytes) -> JpegHeader:
        for marker, segment, scan in _segments(data):
            self._see(marker, segment)
            if marker in _LEFT_OUT:
                continue
            if marker in _FRAMES:
                segment = self._whole_blocks(segment)
            self.kept += [_segment(marker, segment), scan]
        return self._header()

    def _see(self, marker: int, segment: bytes) -> None:
        if marker == _DQT:
            self._read_tables(segment)
        elif marker in _FRAMES:
            self._read_frame(marker, segment)
        elif marker == _SOS:
            self._read_scan(segment)
        elif marker == _DNL:
            raise UnusableError("its height stands behind the pixels")
        elif marker == _APP0 and segment[:5] == b"JFIF\0" and len(segment) >= 14:
            self.jfif = True
        elif marker == _APP1:
            self.has_app1 = True
        elif marker == _APP14 and segment[:5] == b"Adobe" and len(segment) >= 12:
            self.adobe = segment[11]

    def _read_tables(self, segment: bytes) -> None:
        while segment:
            wide, slot = segment[0] >> 4, segment[0] & 15
            size = 128 if wide else 64
            if slot > 3 or len(segment) <= size:
                raise UnusableError("a quantiser table is damaged")
            table = np.zeros(64, np.uint16)
            table[ZIGZAG] = np.frombuffer(segment[1 : 1 + size], ">u2" if wide else np.uint8)
            table.setflags(write=False)
            self.tables[slot] = table.reshape(8, 8)
            segment = segment[1 + size :]

    def _read_frame(self, marker: int, segment: bytes) -> None:
        if self.frame:
            raise UnusableError("it holds two frames")
        if marker not in _KNOWN_FRAMES:
            raise UnusableError("it is lossless or hierarchical")
        if segment[0] != 8:
            raise UnusableError(f"it has {segment[0]} bits a sample")
        self.frame = marker, segment
        for start in range(6, 6 + 3 * segment[5], 3):
            number, sampling, slot = struct.unpack_from(">3B", segment, start)
            if not (1 <= sampling >> 4 <= 4 and 1 <= sampling & 15 <= 4):
                raise UnusableError("its sampling factors are damaged")
            self.components.append(_Component(number, (sampling >> 4, sampling & 15), slot))

    def _read_scan(self, segment: bytes) -> None:
        count = segment[0]
        numbers = segment[1 : 1 + 2 * count : 2]
        first, last, bits = struct.unpack_from(">3B", segment, 1 + 2 * count)
        for index, component in enumerate(self.components):
            if component.number not in numbers:
                continue
            if component.table is None:
                component.table = self.tables.get(component.slot)
            if index == 0:
                self.open_bits[first : last + 1] = bits & 15

    @staticmethod
    def _whole_blocks(segment: bytes) -> bytes:
        """Rounds the size up to blocks of 8, whose number in every component stays the same."""
        height, width = (-(-size // 8) * 8 for size in struct.unpack(">HH", segment[1:5]))
        if not height or not width:
            raise UnusableError("its header gives no size")
        if max(height, width) > 65500:  # libjpeg's limit
            raise UnusableError(f"it is {height} x {width} pixels large")
        return segment[:1] + struct.pack(">HH", height, width) + segment[5:]

    def _header(self) -> JpegHeader:
        if not self.frame:
            raise UnusableError("its header is damaged")
        marker, segment = self.frame
        subsampling = self._subsampling()
        tables = [table for part in self.components if (table := part.table) is not None]
        if len(tables) < len(self.components) or not all(table.all() for table in tables):
            raise UnusableError("a scan or a quantiser table is missing, or the table holds zeros")
        if marker in _PROGRESSIVE and self.open_bits.any():
            raise UnusableError("its progressive scans stop short of the last bit")
        height, width = struct.unpack(">HH", segment[1:5])
        return JpegHeader(
            height=height,
            width=width,
            luma_table=tables[0],
            chroma_table=tables[1] if len(tables) == 3 else None,
            subsampling=subsampling,
            has_app1=self.has_app1,
            _slots=frozenset(component.slot for component in self.components),
            _scans=b"".join(self.kept),
        )

    def _subsampling(self) -> str:
        if len(self.components) == 1:
            return "gray"
        if len(self.components) != 3:
            raise UnusableError(f"it has {len(self.components)} colour components, not Y, Cb, Cr")
        if self._is_rgb():
            raise UnusableError("it holds red, green and blue, not Y, Cb, Cr")
        luma, *chroma = (component.sampling for component in self.components)
        if any(whole % part for own in chroma for whole, part in zip(luma, own, strict=True)):
            raise UnusableError("its luma is not of full size")
        ratios = {(luma[0] // own[0], luma[1] // own[1]) for own in chroma}
        return _NAMES.get(min(ratios), "other") if len(ratios) == 1 else "other"

    def _is_rgb(self) -> bool:
        if self.jfif:
            return False
        if self.adobe is not None:
            return self.adobe == 0
        return bytes(component.number for component in self.components) == b"RGB"


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yields each marker with its segment and, for scans, the entropy-coded data behind."""
    position = 2
    while found := _MARKER.search(data, position):
        marker, position = found[1][0], found.end()
        if marker in _BARE:
            continue
        if marker == _EOI:
            yield marker, b"", b""
            return
        (size,) = struct.unpack_from(">H", data, position)
        if size < 2 or position + size > len(data):
            raise UnusableError("its header is damaged or cut off")
        segment = data[position + 2 : position + size]
        position += size
        scan = b""
        if marker == _SOS:
            end = _MARKER_IN_SCAN.search(data, position)
            stop = end.start() if end else len(data)
            scan, position = data[position:stop], stop
        yield marker, segment, scan


def _segment(marker: int, content: bytes) -> bytes:
    if marker == _EOI:
        return b"\xff\xd9"
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
