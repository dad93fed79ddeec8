"""The interface of a codec: an image and a quality in, bitstream and decoded image out."""

import abc
import dataclasses
from typing import Any, ClassVar

import numpy as np
from jaxtyping import UInt8

RGB = UInt8[np.ndarray, "h w 3"]

COLORS = ("clean", "paper")
"""Colour conversions: `clean` has no bias and is the same on every machine; `paper` keeps the
constant brightness error of ffmpeg's default conversion, which published figures contain and which
depends on the CPU."""


class CodecError(ValueError):
    """One image or bitstream could not be coded; another one may well work."""


@dataclasses.dataclass(frozen=True)
class CodecOptions:
    """What can be set besides the quality; an empty value means the codec's default.

    Attributes:
        colors: One of `COLORS`.
        preset: Speed preset of the encoder.
        subsampling: Chroma subsampling, "4:2:0" and others; only JPEG has a choice.
        disabled_filters: Loop filters to switch off, names of `Codec.loop_filters`.
        lambda_modifier: Factor on the encoder's Lagrangian multiplier (VVC only); 0 is its default.
        encoder: Path of the encoder program (VTM only).
        decoder: Path of the decoder program (VTM only).
        encoder_config: Path of the encoder's configuration file (VTM only).
    """

    colors: str = "clean"
    preset: str = ""
    subsampling: str = ""
    disabled_filters: tuple[str, ...] = ()
    lambda_modifier: float = 0.0
    encoder: str = ""
    decoder: str = ""
    encoder_config: str = ""


@dataclasses.dataclass(frozen=True)
class CodedImage:
    """An image after encoding and decoding.

    Attributes:
        bitstream: The coded image with its headers.
        image: The decoded image, uint8 RGB of the input's shape.
    """

    bitstream: bytes
    image: RGB

    @property
    def bits(self) -> int:
        """Size of the bitstream in bits."""
        return 8 * len(self.bitstream)

    @property
    def bits_per_pixel(self) -> float:
        """Bits of the stream divided by the number of pixels of the image."""
        height, width = self.image.shape[:2]
        return self.bits / (height * width)


class Codec(abc.ABC):
    """Encodes and decodes single images, with fixed settings.

    Class attributes describe what a codec takes; the constructor checks the options against them.

    Attributes:
        name: Key in the table `CODECS`.
        suffix: Of a bitstream's file, with the dot.
        quality_name: What the encoder calls its quality.
        quality_range: Smallest and largest quality.
        presets: Speed presets from fast to slow; the first default is `default_preset`.
        loop_filters: Filters that can be switched off.
        min_side: Smallest width and height in pixels.
        options: The options given.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    quality_name: ClassVar[str] = "qp"
    quality_range: ClassVar[tuple[int, int]]
    presets: ClassVar[tuple[str, ...]] = ()
    default_preset: ClassVar[str] = ""
    subsamplings: ClassVar[tuple[str, ...]] = ("4:2:0",)
    colors: ClassVar[tuple[str, ...]] = COLORS
    loop_filters: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[tuple[str, ...]] = ()
    min_side: ClassVar[int] = 1

    def __init__(self, options: CodecOptions) -> None:
        self._check_choice("colors", options.colors, self.colors)
        self._check_choice("preset", options.preset, ("", *self.presets))
        self._check_choice("subsampling", options.subsampling, ("", *self.subsamplings))
        for name in options.disabled_filters:
            self._check_choice("loop filter", name, self.loop_filters)
        for name in ("lambda_modifier", "encoder", "decoder", "encoder_config"):
            if getattr(options, name) and name not in self.takes:
                raise ValueError(f"codec {self.name} has no option {name}; leave it out")
        self.options = options
        self.preset = options.preset or self.default_preset
        self.subsampling = options.subsampling or self.subsamplings[0]

    def _check_choice(self, what: str, value: str, allowed: tuple[str, ...]) -> None:
        if value not in allowed:
            choices = ", ".join(repr(item) for item in allowed if item) or "none"
            raise ValueError(f"{what} {value!r} is not one of codec {self.name}: {choices}")

    @property
    @abc.abstractmethod
    def version(self) -> str:
        """Name and version of the software that encodes and decodes."""

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the quality that decides the bits and the decoded image; JSON values."""
        return {
            "preset": self.preset,
            "subsampling": self.subsampling,
            "disabled_filters": sorted(set(self.options.disabled_filters)),
        }

    @abc.abstractmethod
    def encode(self, image: RGB, quality: int) -> bytes:
        """Returns the bitstream of an image that `check_input` has accepted."""

    @abc.abstractmethod
    def decode(self, bitstream: bytes, height: int, width: int) -> RGB:
        """Returns the image in a bitstream.

        Args:
            bitstream: What `encode` returned.
            height: Of the image that was encoded, in pixels.
            width: Likewise.

        Raises:
            CodecError: If the bitstream is damaged or holds an image of another size.
        """

    def code(self, image: RGB, quality: int) -> CodedImage:
        """Encodes and decodes an image.

        Args:
            image: uint8 RGB (H, W, 3).
            quality: An integer in `quality_range`.

        Raises:
            ValueError: If the quality is out of range.
            CodecError: If the image is too small, or the encoder or decoder fails on it.
            FileNotFoundError: If a program that the codec needs is absent.
        """
        self.check_quality(quality)
        height, width = image.shape[:2]
        if min(height, width) < self.min_side:
            raise CodecError(
                f"image of {width}x{height} is too small for codec {self.name}, "
                f"which needs at least {self.min_side} pixels on each side"
            )
        bitstream = self.encode(image, quality)
        return CodedImage(bitstream, self.decode(bitstream, height, width))

    def check_quality(self, quality: int) -> None:
        """Raises ValueError unless the quality is in range."""
        low, high = self.quality_range
        if not low <= quality <= high:
            raise ValueError(
                f"{self.quality_name} {quality} is not one of codec {self.name}: {low} to {high}"
            )
